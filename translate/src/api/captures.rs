//! The ApiDeployments of an API: what they hold.

use std::sync::Arc;

use super::{ApiChanges, ApiState, Scope};
use crate::changes::Record;
use crate::content::Built;
use crate::{Capture, Kind, ObjectRef, ObjectVerdict, Reason, Serving, Verdict};
impl ApiState {
    /// Captures the API for ApiDeployments that hold nothing yet.
    pub(super) fn capture<S>(
        &self,
        api: &ObjectRef,
        scope: &mut Scope<'_, S>,
        changes: &mut ApiChanges,
    ) -> Vec<ObjectVerdict> {
        let objects: Vec<ObjectRef> = scope.world.referrers(api, Kind::ApiDeployment).cloned().collect();
        let mut verdicts = Vec::new();
        for object in objects {
            let Some(item) = scope.world.deployment(&object) else { continue };
            let live = self.live.as_ref().filter(|built| !built.keys.is_empty());
            let (resolved, capture) = match (scope.captures.get(&object), &item.spec.id, live) {
                (Some(built), _, _) => (Verdict::resolved(), Capture::Deployed(built.hash().to_string())),
                // Nobody needs the content: ten old deployments of a large API would take a hundred megabytes.
                (None, Some(id), _) if !scope.world.is_referenced(&object) => {
                    (Verdict::resolved(), Capture::Deployed(id.clone()))
                }
                (None, Some(id), _) if self.known(id).is_some() => {
                    scope.captures.extend(self.known(id).map(|built| (object.clone(), Arc::clone(built))));
                    (Verdict::resolved(), Capture::Deployed(id.clone()))
                }
                (None, Some(id), _) => {
                    let message = format!("the content of deployment {id} is not known yet");
                    (Verdict::no(Reason::DeploymentPending, message.clone()), Capture::Pending(message))
                }
                (None, None, Some(live)) => {
                    scope.captures.insert(object.clone(), Arc::clone(live));
                    changes.records.push(Record::Captured {
                        object: object.clone(),
                        hash: live.hash().clone(),
                        json: Arc::clone(&live.content.json),
                    });
                    (Verdict::resolved(), Capture::Deployed(live.hash().to_string()))
                }
                // The words of AWS (H-STAGE-10).
                (None, None, None) if self.live.is_some() => (
                    Verdict::no(Reason::NoRoutes, "spec.apiRef: the API has no routes yet: create a Route of it"),
                    Capture::Failed("Unable to deploy API because no routes exist in this API".to_owned()),
                ),
                (None, None, None) => {
                    let message = format!("spec.apiRef: {api} is refused: see its conditions");
                    (Verdict::no(Reason::ApiNotAccepted, message.clone()), Capture::Pending(message))
                }
            };
            verdicts.push(ObjectVerdict {
                object,
                uid: item.uid.clone(),
                generation: item.generation,
                accepted: Verdict::accepted(),
                serving: if resolved.ok {
                    Serving::NotNeeded(Reason::Accepted)
                } else {
                    Serving::Nowhere(Verdict::no(Reason::NotAccepted, "there is no content to serve"))
                },
                resolved_refs: resolved,
                api_id: self.identity.as_ref().map(|identity| identity.api_id.clone()),
                api_endpoint: None,
                capture: Some(capture),
            });
        }
        verdicts
    }

    /// The deployment with this hash, if it is live or was lately.
    fn known(&self, id: &str) -> Option<&Arc<Built>> {
        self.live.iter().chain(&self.recorded).find(|built| built.hash().as_str() == id)
    }
}
