//! The certificate authorities that images trust.
//!
//! They come from the `webpki-root-certs` crate that this `flash` was built with, not from the machine that builds
//! an image, so that two machines build the same image.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Where they are in an image: where OpenSSL and rustls look first on most systems.
pub(crate) const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// The length of a line in PEM.
const LINE: usize = 64;

/// The bundle, in PEM.
pub(crate) fn bundle() -> Vec<u8> {
    let mut pem = Vec::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        pem.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(LINE) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use rustls::{
        RootCertStore,
        pki_types::{CertificateDer, pem::PemObject as _},
    };

    use super::*;

    #[test]
    fn a_tls_client_trusts_every_certificate_of_the_bundle() {
        let bundle = bundle();
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle) {
            store.add(certificate.unwrap()).unwrap();
        }
        assert!(store.len() > 100, "{} certificates", store.len());
        assert_eq!(store.len(), TLS_SERVER_ROOT_CERTS.len());
        assert!(bundle.split(|byte| *byte == b'\n').all(|line| line.len() <= LINE));
    }
}
