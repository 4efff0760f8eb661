//! tollgate: check and run the same YAML without a cluster
