//! The data plane: connections, the request line, integrations, meters
