//! The custom resources of tollgate.dev and their generated YAML
