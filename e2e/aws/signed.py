"""Sends requests that botocore signs, and prints for each a line of JSON: what it is, the status and the body that it got.

usage: signed.py ENDPOINT
"""

import datetime
import http.client
import json
import sys
import urllib.parse

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

endpoint = sys.argv[1]
host = urllib.parse.urlsplit(endpoint).netloc
ada = Credentials("AKIDADA", "adas-own-secret/with+signs=")
guest = Credentials("ASIAGUEST", "guests-secret", token="the/guest's+token==")
stranger = Credentials("AKIDADA", "a-guess")


class Later(auth.SigV4Auth):
    """Signs as of another time."""

    seconds = 0

    def add_auth(self, request):
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = (now + datetime.timedelta(seconds=self.seconds)).strftime("%Y%m%dT%H%M%SZ")
        request.context["timestamp"] = stamp
        if self.credentials.token:
            request.headers["X-Amz-Security-Token"] = self.credentials.token
        request.headers["X-Amz-Date"] = stamp
        to_sign = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(to_sign, request))


def signed(signer, target, method="GET", body=b"", headers=None):
    """The target and headers of a request that `signer` signed."""
    request = AWSRequest(method=method, url=endpoint + target, data=body, headers={"Host": host, **(headers or {})})
    signer.add_auth(request)
    url = urllib.parse.urlsplit(request.url)
    return url.path + (f"?{url.query}" if url.query else ""), dict(request.headers)


def send(label, target, headers, method="GET", body=b""):
    connection = http.client.HTTPConnection(host)
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    print(json.dumps([label, answer.status, answer.read().decode()]))
    connection.close()


def header(credentials, region="local", service="execute-api"):
    return auth.SigV4Auth(credentials, service, region)


def query(credentials, expires=60):
    return auth.SigV4QueryAuth(credentials, "execute-api", "local", expires)


def at(seconds):
    signer = Later(ada, "execute-api", "local")
    signer.seconds = seconds
    return signer


post = {"method": "POST", "body": "b\u00f6dy & more".encode()}
unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}

for label, signer, target, options in [
    ("header", header(ada), "/things/1", {}),
    ("body", header(ada), "/things/1", post),
    ("unsigned body", header(ada), "/things/1", {**post, "headers": unsigned}),
    ("token", header(guest), "/things/1", {}),
    ("query", query(ada), "/things/1", {}),
    ("query with a body", query(ada), "/things/1", {"method": "POST"}),
    ("token in the query", query(guest), "/things/1?a=b", {}),
    ("parameters", header(ada), "/things/1?b=2&a=%20%2B%C3%BC&b=1&c&A=x", {}),
    ("parameters in the query", query(ada), "/things/1?b=2&a=%20%2B%C3%BC&b=1&A=x", {}),
    ("path", header(ada), "/things/a%20b%2Bc:d@e,~f%C3%BC", {}),
    ("headers", header(ada), "/things/1", {"headers": {"X-Spaces": "  a   b ", "X-Amz-Meta": "m"}}),
    ("four minutes ago", at(-240), "/things/1", {}),
    ("six minutes ago", at(-360), "/things/1", {}),
    ("in six minutes", at(360), "/things/1", {}),
    ("another secret", header(stranger), "/things/1", {}),
    ("another secret in the query", query(stranger), "/things/1", {}),
    ("another region", header(ada, region="eu-west-1"), "/things/1", {}),
    ("another service", header(ada, service="s3"), "/things/1", {}),
    ("not allowed", header(guest), "/things/1", {"method": "DELETE"}),
]:
    target, headers = signed(signer, target, **options)
    send(label, target, headers, options.get("method", "GET"), options.get("body", b""))

target, headers = signed(header(ada), "/things/1")
send("another path than signed", "/things/2", headers)
send("another method than signed", target, headers, "DELETE")
send("a parameter more than signed", target + "?a=b", headers)
target, headers = signed(header(ada), "/things/1", **post)
send("another body than signed", target, headers, "POST", b"other")
target, headers = signed(header(guest), "/things/1")
del headers["X-Amz-Security-Token"]
send("the token left out", target, headers)
target, headers = signed(query(ada), "/things/1")
send("longer than signed", target.replace("Expires=60", "Expires=600"), headers)
