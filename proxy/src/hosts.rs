//! Names that are answered without DNS, for `tollgate dev`: there the services of the YAML files have no DNS to stand in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// `host:port` to addresses. A clone is a pointer to the same table; empty in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<ArcSwap<HashMap<(String, u16), SocketAddr>>>);

impl Hosts {
    /// Where `host:port` is, if the table knows. Names are compared in lower case and without a trailing dot.
    pub fn lookup(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let table = self.0.load();
        if table.is_empty() {
            return None;
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        table.get(&(name, port)).copied()
    }

    /// Replaces the whole table. Names are in lower case, without a trailing dot.
    pub fn replace(&self, table: HashMap<(String, u16), SocketAddr>) {
        self.0.store(Arc::new(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_port_and_in_any_case() {
        let hosts = Hosts::default();
        let address: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(hosts.lookup("echo.shop", 80), None);
        hosts.replace(HashMap::from([(("echo.shop".to_owned(), 80), address)]));
        assert_eq!(hosts.lookup("Echo.Shop.", 80), Some(address));
        assert_eq!(hosts.lookup("echo.shop", 81), None);
    }
}
