//! Whole programs against real etcd, kube-apiserver and a real node; never shipped
