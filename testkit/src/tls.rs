//! Certificates made on the spot, and an HTTPS client that says which of them it has.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Reply;

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// A root.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for DNS names, valid for long.
    pub fn server(&self, names: &[&str]) -> Issued {
        self.sign(&CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap())
    }

    /// A certificate for a client.
    pub fn client(&self, name: &str) -> Issued {
        self.sign(&client(name))
    }

    /// One that has ended.
    pub fn expired_client(&self, name: &str) -> Issued {
        let mut params = client(name);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// What a TLS client says and believes.
#[derive(Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

/// An HTTP/1.1 connection over TLS.
#[derive(Debug)]
pub struct TlsConnection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl TlsClient {
    /// Trusts these PEM certificates and shows its own, if it has one.
    pub fn new(trust: &str, own: Option<&Issued>) -> Self {
        Self::with(rustls::crypto::aws_lc_rs::default_provider(), trust, own)
    }

    /// Offers this cipher suite of TLS 1.2 and nothing else.
    pub fn only(trust: &str, suite: CipherSuite) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|known| known.suite() == suite);
        assert_eq!(provider.cipher_suites.len(), 1);
        Self::with(provider, trust, None)
    }

    fn with(provider: CryptoProvider, trust: &str, own: Option<&Issued>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes()).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.unwrap(), key).unwrap()
            }
        };
        Self { config: Arc::new(config) }
    }

    /// Shakes hands, naming `sni`. With TLS 1.3 a server's refusal comes with the first answer only.
    ///
    /// # Errors
    /// One of the two sides refused.
    pub fn connect(&self, address: SocketAddr, sni: &str) -> io::Result<TlsConnection> {
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(TlsConnection { stream: StreamOwned::new(session, socket), buffer: Vec::new() })
    }

    /// One request on a connection of its own, to the host that the handshake names.
    ///
    /// # Errors
    /// The connection was refused.
    pub fn call(&self, address: SocketAddr, host: &str, request: &str) -> io::Result<Reply> {
        self.connect(address, host)?.call(&format!("{request}\nHost: {host}"))
    }
}

impl TlsConnection {
    /// The server's certificate.
    pub fn shown(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// What both sides agreed on.
    pub fn suite(&self) -> CipherSuite {
        self.stream.conn.negotiated_cipher_suite().unwrap().suite()
    }

    /// Whether the handshake was shortened by an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// `request` in lines, without a body. The answer has a content length.
    ///
    /// # Errors
    /// The connection was refused or ended.
    pub fn call(&mut self, request: &str) -> io::Result<Reply> {
        let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
        let headers: String = headers.lines().map(|header| format!("{}\r\n", header.trim())).collect();
        self.stream.write_all(format!("{line} HTTP/1.1\r\n{headers}\r\n").as_bytes())?;
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.fill()?,
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(Reply { status, headers, body: self.buffer.drain(..length).collect() })
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&bytes[..read]);
                Ok(())
            }
        }
    }
}
