//! Encrypts secrets at rest: AES-256-GCM with a key in a separate file.
//!
//! Anyone who can read the key file can read the secrets; a copy of the database alone reveals none. A secret is
//! bound to its place: moved to another environment or name, it cannot be decrypted.
use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

use flash_target::SecretValue;

const KEY_LENGTH: usize = 32;

/// Encrypts and decrypts secrets.
pub(super) struct Cipher {
    key: LessSafeKey,
    random: SystemRandom,
}

/// A secret as stored.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub nonce: Vec<u8>,
    pub ciphertext: Vec<u8>,
}

/// Why a secret cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CipherError {
    #[error("cannot use the encryption key of the secrets")]
    KeyFile(#[source] io::Error),
    #[error("the encryption key of the secrets is damaged: {length} bytes instead of {KEY_LENGTH}")]
    KeyLength { length: usize },
    #[error(
        "{} is missing, and the stored secrets cannot be decrypted without it: restore it from a backup. \
         Without a backup, make a new one (`head -c {KEY_LENGTH} /dev/urandom > {}`), start the service, and set all secrets again",
        path.display(), path.display()
    )]
    KeyMissing { path: PathBuf },
    #[error("the system provides no random numbers")]
    Random,
    #[error("the secret was encrypted with another key, or is damaged")]
    Closed,
}

impl Cipher {
    /// With the key in this file. It is made at first use, but never if encrypted secrets already exist.
    pub(super) fn open(path: &Path, has_sealed: bool) -> Result<Self, CipherError> {
        let random = SystemRandom::new();
        let key = match std::fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_sealed => {
                return Err(CipherError::KeyMissing { path: path.to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = vec![0; KEY_LENGTH];
                random.fill(&mut key).map_err(|_| CipherError::Random)?;
                write_whole(path, &key).map_err(CipherError::KeyFile)?;
                key
            }
            Err(error) => return Err(CipherError::KeyFile(error)),
        };
        let key =
            UnboundKey::new(&AES_256_GCM, &key).map_err(|_| CipherError::KeyLength { length: key.len() })?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    /// Encrypts a secret for this place.
    pub(super) fn seal(&self, place: &str, value: &SecretValue) -> Result<Sealed, CipherError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| CipherError::Random)?;
        let mut ciphertext = value.expose().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut ciphertext,
            )
            .map_err(|_| CipherError::Closed)?;
        Ok(Sealed { nonce: nonce.to_vec(), ciphertext })
    }

    /// Decrypts a secret that was encrypted for this place.
    pub(super) fn open_sealed(&self, place: &str, sealed: &Sealed) -> Result<SecretValue, CipherError> {
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).map_err(|_| CipherError::Closed)?;
        let mut text = sealed.ciphertext.clone();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut text)
            .map_err(|_| CipherError::Closed)?
            .len();
        text.truncate(length);
        String::from_utf8(text).map(SecretValue::new).map_err(|_| CipherError::Closed)
    }
}

/// Writes a file atomically, also across a power cut, readable only by its owner.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    // The directory entry has to be on disk too.
    path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_secret_opens_in_its_own_place_only() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("secret.key");
        let sealed = Cipher::open(&path, false)
            .unwrap()
            .seal("app/a/TOKEN", &SecretValue::new("hush".into()))
            .unwrap();
        assert!(!sealed.ciphertext.windows(4).any(|part| part == b"hush"));
        // Another process reads the key that the first one made.
        let cipher = Cipher::open(&path, true).unwrap();
        assert_eq!(cipher.open_sealed("app/a/TOKEN", &sealed).unwrap().expose(), "hush");
        assert!(matches!(cipher.open_sealed("app/b/TOKEN", &sealed), Err(CipherError::Closed)));
        let damaged = Sealed { nonce: sealed.nonce.clone(), ciphertext: vec![0; 20] };
        assert!(matches!(cipher.open_sealed("app/a/TOKEN", &damaged), Err(CipherError::Closed)));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn equal_secrets_look_different() {
        let directory = TempDir::new().unwrap();
        let cipher = Cipher::open(&directory.path().join("secret.key"), false).unwrap();
        let value = SecretValue::new("same".into());
        assert!(cipher.seal("p", &value).unwrap().ciphertext != cipher.seal("p", &value).unwrap().ciphertext);
    }

    #[test]
    fn a_lost_key_is_said_and_not_replaced_while_secrets_need_it() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("secret.key");
        assert!(matches!(Cipher::open(&path, true), Err(CipherError::KeyMissing { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_key_is_said_and_not_replaced() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("secret.key");
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(Cipher::open(&path, true), Err(CipherError::KeyLength { length: 5 })));
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }
}
