//! What becomes of the objects of an API that does not exist.

use super::{ApiChanges, ApiState, Scope};
use crate::arrange::Slot;
use crate::{Capture, Kind, ObjectRef, ObjectVerdict, Reason, Serving, Verdict};
impl ApiState {
    /// The API is gone, and everything that was served for it.
    pub(super) fn forget<S>(&mut self, api: &ObjectRef, scope: &mut Scope<'_, S>, changes: &mut ApiChanges) {
        scope.ids.release(api);
        changes.following_changed = !self.following.is_empty();
        let routes = std::mem::take(&mut self.routes);
        let units = std::mem::take(&mut self.units);
        let needs = std::mem::take(&mut self.needs);
        *self = Self { routes, units, needs, ..Self::default() };
        for state in self.routes.values_mut() {
            state.slot = Slot::Absent;
            state.last = None;
            state.pieces = None;
            state.loss = None;
        }
        let missing = Verdict::no(
            Reason::ApiNotFound,
            format!("spec.apiRef: {api} does not exist: create it or correct the name"),
        );
        let nowhere = || Serving::Nowhere(Verdict::no(Reason::ApiNotFound, "the API does not exist"));
        for (name, state) in &self.routes {
            changes.verdicts.push(ObjectVerdict {
                object: ObjectRef::new(Kind::Route, &api.namespace, name),
                uid: state.item.uid.clone(),
                generation: state.item.generation,
                accepted: state.looked.outcome.accepted.clone(),
                resolved_refs: missing.clone(),
                serving: nowhere(),
                api_id: None,
                api_endpoint: None,
                capture: None,
            });
        }
        let members = |kind| scope.world.referrers(api, kind);
        for object in members(Kind::Stage).chain(members(Kind::ApiDeployment)) {
            let stage = scope.world.stage(object).map(|item| (item.uid.clone(), item.generation));
            let deployment = scope.world.deployment(object).map(|item| (item.uid.clone(), item.generation));
            let Some((uid, generation)) = stage.or(deployment) else { continue };
            let pending = || Capture::Pending(missing.message.clone());
            changes.verdicts.push(ObjectVerdict {
                object: object.clone(),
                uid,
                generation,
                accepted: Verdict::accepted(),
                resolved_refs: missing.clone(),
                serving: nowhere(),
                api_id: None,
                api_endpoint: None,
                capture: (object.kind == Kind::ApiDeployment).then(pending),
            });
        }
    }
}
