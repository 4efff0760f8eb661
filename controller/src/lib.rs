//! Watches the cluster, translates, publishes the feed and tells the truth in status
