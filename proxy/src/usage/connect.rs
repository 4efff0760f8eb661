//! Ways to the shared store: one server, a cluster, or sentinels that know the primary; with a password and TLS.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    RedisResult, TlsCertificates, TlsMode,
};

/// A call that takes longer has failed.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// To connect.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// Where the store is.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// `redis://` or `rediss://` URLs: one, or several nodes of a cluster or sentinels.
    pub urls: Vec<String>,
    /// What the URLs are.
    pub topology: Topology,
    /// Instead of one in the URLs.
    pub password: Option<String>,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
}

/// How the store is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server, or one address that always leads to the primary.
    Single,
    /// A cluster.
    Cluster,
    /// Sentinels that know the primary of this name.
    Sentinel(String),
}

/// Why a text is no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a layout of a store: write single, cluster or sentinel:NAME")]
pub struct TopologyError(String);

impl std::str::FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, TopologyError> {
        match text.split_once(':') {
            None if text == "single" => Ok(Self::Single),
            None if text == "cluster" => Ok(Self::Cluster),
            Some(("sentinel", name)) if !name.is_empty() => Ok(Self::Sentinel(name.to_owned())),
            _ => Err(TopologyError(text.to_owned())),
        }
    }
}

/// A connection.
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

/// Connects to a store that answers; the caller limits the time.
pub(super) async fn connect(settings: &StoreSettings) -> RedisResult<Link> {
    let mut link = open(settings).await?;
    // One that misses a password, or still reads its file, refuses.
    link.ping().await?;
    Ok(link)
}

impl Link {
    /// Whether the store, or every primary of a cluster, answers.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        match self {
            Self::One(connection) => redis::cmd("PING").exec_async(connection).await,
            Self::Cluster(connection) => redis::cmd("PING").exec_async(&mut **connection).await,
        }
    }
}

async fn open(settings: &StoreSettings) -> RedisResult<Link> {
    let StoreSettings { urls, topology, password, ca: _ } = settings;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(PATIENCE));
    let node = |url: &String| -> RedisResult<ConnectionInfo> {
        let info = url.as_str().into_connection_info()?;
        let Some(password) = password else { return Ok(info) };
        let redis = info.redis_settings().clone().set_password(password);
        Ok(info.set_redis_settings(redis))
    };
    let nodes = urls.iter().map(node).collect::<RedisResult<Vec<ConnectionInfo>>>()?;
    let first = nodes.first().cloned();
    let first = first.ok_or_else(|| RedisError::from((ErrorKind::InvalidClientConfig, "no URL")))?;
    let certificates = settings.certificates();
    match topology {
        Topology::Single => {
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(first, certificates)?,
                None => Client::open(first)?,
            };
            Ok(Link::One(client.get_multiplexed_async_connection_with_config(&config).await?))
        }
        Topology::Cluster => {
            let mut builder = ClusterClient::builder(nodes).connection_timeout(CONNECT).response_timeout(PATIENCE);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            Ok(Link::Cluster(Box::new(builder.build()?.get_async_connection().await?)))
        }
        Topology::Sentinel(name) => {
            let sentinels = Sentinels { nodes: &nodes, name, certificates };
            match sentinels.connect(true, &config).await {
                // Sentinels often have no password of their own, and then refuse any.
                Err(error) if first.redis_settings().password().is_some() => {
                    let connected = sentinels.connect(false, &config).await;
                    Ok(Link::One(connected.map_err(|_| error)?))
                }
                connected => Ok(Link::One(connected?)),
            }
        }
    }
}

impl StoreSettings {
    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = self.ca.clone()?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
    }
}

struct Sentinels<'a> {
    nodes: &'a [ConnectionInfo],
    name: &'a str,
    certificates: Option<TlsCertificates>,
}

impl Sentinels<'_> {
    /// To the primary. What the first URL says about password and TLS holds for all servers; `authenticate`: for the sentinels too.
    async fn connect(&self, authenticate: bool, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let addresses = self.nodes.iter().map(|node| node.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, self.name, SentinelServerType::Master)?;
        let Some(first) = self.nodes.first() else {
            return Err((ErrorKind::EmptySentinelList, "no URL").into());
        };
        let redis = first.redis_settings();
        builder = builder.set_client_to_redis_db(redis.db());
        if let Some(username) = redis.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = redis.password() {
            builder = builder.set_client_to_redis_password(password);
            if authenticate {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = &self.certificates {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates.clone());
            }
        }
        builder.build()?.get_async_connection_with_config(config).await
    }
}
