use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Whose certificates a `wss://` feed may show.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The machine's own store, or the file that `SSL_CERT_FILE` (or `SSL_CERT_DIR`) names.
    #[default]
    Native,
    Given(Arc<RootCertStore>),
}

impl Roots {
    /// Fails where the machine has no certificate to trust.
    pub(crate) fn connector(&self) -> anyhow::Result<TlsConnector> {
        let store = match self {
            Self::Given(store) => store.clone(),
            Self::Native => Arc::new(native()?),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_root_certificates(store)
            .with_no_client_auth();
        // An upgrade to WebSocket is HTTP/1.1's; a server must not choose HTTP/2 here.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn native() -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Stores of real machines hold a few certificates that nobody can parse.
    let (added, _unusable) = store.add_parsable_certificates(found.certs);
    let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    ensure!(
        added > 0,
        "no trusted certificates for wss://: install the package ca-certificates, or let \
         SSL_CERT_FILE name a PEM file{}{errors}",
        if errors.is_empty() { "" } else { ": " },
    );
    Ok(store)
}
