#!/usr/bin/env bash
# start.sh PORT BACKEND_PORT SCENARIO: Tollgate as one contender. Writes the objects a user would write below $BENCH_RUN
# and serves them with one worker. Exit 3: this scenario is not supported.
#   TOLLGATE_BIN   the program `tollgate`;  TOLLGATE_JWKS   URL of the key set, for jwt scenarios
#   TOLLGATE_SPEC  HttpApi.spec as YAML, for programs that do not know limits.routes
set -eu
port=$1 backend=$2 scenario=$3
objects=$BENCH_RUN/objects
rm -rf "$objects" "$BENCH_RUN/state" && mkdir -p "$objects"

authorization="" access_log="" throttle="" metered=""
LOG='{"requestId":"$context.requestId","ip":"$context.identity.sourceIp","method":"$context.httpMethod","path":"$context.path","routeKey":"$context.routeKey","status":$context.status,"protocol":"$context.protocol","length":$context.responseLength,"latency":$context.responseLatency,"backend":"$context.integrationLatency","time":"$context.requestTime","agent":"$context.identity.userAgent"}'
with_log() { access_log="  accessLogSettings: {format: '$LOG'}"; }
with_throttle() { throttle="  defaultRouteSettings: {throttlingRateLimit: 1000000, throttlingBurstLimit: 1000000}"; }
routes=""
case $scenario in
  plain | tls) ;;
  jwtcache) [ -n "${TOLLGATE_JWKS:-}" ] || exit 3; authorization="  authorizationType: JWT
  authorizerRef: {name: tokens}" ;;
  ratelimit) with_throttle ;;
  metered) metered=yes ;;
  obs) with_log ;;
  routes:*) routes=$BENCH_DATA/routes-${scenario#routes:}.txt ;;
  full:*) routes=$BENCH_DATA/routes-${scenario#full:}.txt; with_log; with_throttle ;;
  *) exit 3 ;;
esac

cat > "$objects/api.yaml" <<Y
apiVersion: tollgate.dev/v1alpha1
kind: HttpApi
metadata: {name: bench}
spec: ${TOLLGATE_SPEC:-{limits: {routes: 100000\}\}}
---
apiVersion: tollgate.dev/v1alpha1
kind: Stage
metadata: {name: bench}
spec:
  apiRef: {name: bench}
  stageName: \$default
$throttle
$access_log
---
apiVersion: tollgate.dev/v1alpha1
kind: Integration
metadata: {name: origin}
spec:
  service: {name: origin, port: 80}
---
apiVersion: v1
kind: Service
metadata: {name: origin}
spec:
  ports: [{name: http, port: 80, targetPort: $backend}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: origin-1, labels: {kubernetes.io/service-name: origin}}
addressType: IPv4
ports: [{name: http, port: $backend}]
endpoints: [{addresses: [127.0.0.1]}]
Y
if [ -n "$authorization" ]; then
  cat > "$objects/authorizer.yaml" <<Y
apiVersion: tollgate.dev/v1alpha1
kind: Authorizer
metadata: {name: tokens}
spec:
  identitySource: [\$request.header.Authorization]
  jwt: {issuer: "https://issuer.example.com", audience: [api], jwksUri: "$TOLLGATE_JWKS"}
Y
fi

# route NAME ROUTE_KEY
route() {
  printf -- '---\napiVersion: tollgate.dev/v1alpha1\nkind: Route\nmetadata: {name: %s}\nspec:\n  apiRef: {name: bench}\n  routeKey: "%s"\n  integrationRef: {name: origin}\n%s\n' "$1" "$2" "$authorization"
}
if [ -n "$routes" ]; then
  # /a/{*rest} is the harness's way of writing /a/{rest+}.
  awk '{ gsub(/\{\*rest\}/, "{rest+}")
    printf "---\napiVersion: tollgate.dev/v1alpha1\nkind: Route\nmetadata: {name: r%d}\nspec:\n  apiRef: {name: bench}\n  routeKey: \"ANY %s\"\n  integrationRef: {name: origin}\n", NR, $0 }' \
    "$routes" > "$objects/routes.yaml"
  # The harness's first request, before it looks for a path of its own.
  case $scenario in full:*) route ready "GET /ready" > "$objects/ready.yaml" ;; esac
else
  # The harness's first request has no key.
  [ -z "$metered" ] || { route ready "GET /ready"; authorization="  apiKeyRequired: true"; } > "$objects/ready.yaml"
  route all '$default' > "$objects/routes.yaml"
fi
if [ -n "$metered" ]; then
  cat > "$objects/plan.yaml" <<'Y'
apiVersion: tollgate.dev/v1alpha1
kind: UsagePlan
metadata: {name: bench}
spec:
  throttle: {rateLimit: 1000000, burstLimit: 1000000}
  quota: {limit: 1000000000, period: MONTH}
  apiStages: [{stageRef: {name: bench}}]
---
apiVersion: v1
kind: Secret
metadata: {name: customer}
stringData: {key: bench-customer-0123456789}
---
apiVersion: tollgate.dev/v1alpha1
kind: ApiKey
metadata: {name: customer}
spec:
  valueFrom: {secretKeyRef: {name: customer, key: key}}
  usagePlanRefs: [{name: bench}]
Y
fi

# Each reload adds a route, as a user's kubectl would.
cat > "$BENCH_RUN/reload.sh" <<R
cat > "$BENCH_RUN/new.tmp" <<'Y'
$(route new@ "GET /new@")
Y
sed "s/@/\$2/g" "$BENCH_RUN/new.tmp" > "$BENCH_RUN/new.yaml"
mv "$BENCH_RUN/new.yaml" "$objects/new-\$2.yaml"
R

listen=(--listen "127.0.0.1:$port")
[ "$scenario" != tls ] || listen=(--listen "127.0.0.1:$((port + 1))" --tls-listen "127.0.0.1:$port")
exec "${TOLLGATE_BIN:?}" dev "$objects" "${listen[@]}" --state "$BENCH_RUN/state" --workers 1
