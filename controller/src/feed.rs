//! The feed: what proxies read ([`hub`]), who may read it ([`auth`]), and how it is served ([`server`], [`tls`]).

pub mod auth;
pub mod hub;
pub mod server;
pub mod tls;

pub use tollgate_translate::Fleet;

/// All fleets.
pub const FLEETS: [Fleet; 2] = [Fleet::Public, Fleet::Private];

/// Reads a fleet's name as it travels.
pub fn parse_fleet(name: &str) -> Option<Fleet> {
    FLEETS.into_iter().find(|fleet| fleet.as_str() == name)
}

/// The place of a fleet in lists that have one entry for each.
pub(crate) fn index(fleet: Fleet) -> usize {
    match fleet {
        Fleet::Public => 0,
        Fleet::Private => 1,
    }
}
