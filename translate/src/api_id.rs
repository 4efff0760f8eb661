//! Ids of APIs: ten characters of `[a-z0-9]` (H-CTL-3), each of one API of the cluster.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::ObjectRef;

/// Which API has which id.
#[derive(Debug, Default)]
pub(crate) struct ApiIds {
    owners: HashMap<String, ObjectRef>,
    ids: HashMap<ObjectRef, String>,
}

impl ApiIds {
    /// Takes `id` for `api`, unless another API has it: then says which.
    pub(crate) fn claim(&mut self, api: &ObjectRef, id: &str) -> Result<(), ObjectRef> {
        match self.owners.get(id) {
            Some(owner) if owner == api => return Ok(()),
            Some(owner) => return Err(owner.clone()),
            None => {}
        }
        self.release(api);
        self.owners.insert(id.to_owned(), api.clone());
        self.ids.insert(api.clone(), id.to_owned());
        Ok(())
    }

    /// Takes the first free id derived from `uid`. Two uids with the same id are as likely as a lottery win, but then the
    /// later API gets another one.
    pub(crate) fn derive(&mut self, api: &ObjectRef, uid: &str) -> String {
        (0_u32..).map(|attempt| derived(uid, attempt)).find(|id| self.claim(api, id).is_ok()).expect("an endless range")
    }

    /// The API is gone.
    pub(crate) fn release(&mut self, api: &ObjectRef) {
        if let Some(id) = self.ids.remove(api) {
            self.owners.remove(&id);
        }
    }
}

fn derived(uid: &str, attempt: u32) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut hash = Sha256::new();
    hash.update(uid);
    if attempt > 0 {
        hash.update(attempt.to_be_bytes());
    }
    let digest = hash.finalize();
    let mut number = u128::from_be_bytes(digest[..16].try_into().expect("a digest has 32 bytes"));
    let mut id = String::with_capacity(10);
    for _ in 0..10 {
        let index = usize::try_from(number % 36).expect("less than 36");
        id.push(char::from(ALPHABET[index]));
        number /= 36;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    /// Proves H-CTL-3.
    #[test]
    fn ids_are_stable_and_of_the_documented_form() {
        let id = derived("0c2f6a0e-6f6f-4a0a-9d2b-0c0b7a8f1a11", 0);
        assert_eq!(id, derived("0c2f6a0e-6f6f-4a0a-9d2b-0c0b7a8f1a11", 0));
        assert_eq!(id.len(), 10);
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{id}");
        assert_ne!(id, derived("another", 0));
    }

    #[test]
    fn a_taken_id_is_not_given_twice() {
        let api = |name| ObjectRef::new(Kind::HttpApi, "n", name);
        let mut ids = ApiIds::default();
        let first = ids.derive(&api("a"), "uid");
        let second = ids.derive(&api("b"), "uid");
        assert_ne!(first, second);
        assert_eq!(ids.derive(&api("a"), "uid"), first);
        assert_eq!(ids.claim(&api("c"), &first), Err(api("a")));
        ids.release(&api("a"));
        assert_eq!(ids.claim(&api("c"), &first), Ok(()));
    }
}
