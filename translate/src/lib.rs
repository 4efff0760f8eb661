//! From a world of objects to snapshots and conditions
