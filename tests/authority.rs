//! Certificates that openssl makes.

use crate::harness::Folder;
use std::path::PathBuf;
use std::process::Command;

/// Certificates in a folder: an authority, and who it signed for.
pub struct Authority {
    pub folder: Folder,
}

impl Authority {
    pub fn new() -> Self {
        let folder = Folder::new();
        let made = Self { folder };
        made.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        made
    }

    fn openssl(&self, args: &[&str]) {
        let out = Command::new("openssl").current_dir(&self.folder.0).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// A certificate for names as `DNS:localhost,IP:127.0.0.1`; its files' names begin with `of`.
    pub fn sign(&self, of: &str, names: &str) -> [PathBuf; 2] {
        self.sign_as(of, &format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"))
    }

    /// The same with the given extensions.
    pub fn sign_as(&self, of: &str, extensions: &str) -> [PathBuf; 2] {
        self.folder.file("ext", extensions);
        let [key, csr, pem] = ["key", "csr", "pem"].map(|end| format!("{of}.{end}"));
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            &key,
            "-out",
            &csr,
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &pem,
        ]);
        [self.folder.0.join(pem), self.folder.0.join(key)]
    }

    pub fn ca(&self) -> String {
        self.folder.0.join("ca.pem").display().to_string()
    }
}

impl Authority {
    /// A bridge's `[sip] tls`, with a certificate for `names`.
    pub fn settings(&self, names: &str) -> String {
        let [cert, key] = self.sign("bridge", names);
        let (cert, key, ca) = (cert.display(), key.display(), self.ca());
        format!("tls = {{ cert = \"{cert}\", key = \"{key}\", client_ca = \"{ca}\" }}")
    }
}
