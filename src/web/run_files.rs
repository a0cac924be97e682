//! Two files in the data folder, through which local commands find a running server and get access.
//!
//! Whoever can read `token` may create silences. `address` contains the listen address while the
//! server runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::clock;
use crate::model::Secret;

const TOKEN: &str = "token";
const ADDRESS: &str = "address";
/// Minimum length of a token that an operator put there.
const LEAST: usize = 32;

/// Returns the token of this data folder, and creates it if missing. Only for the process that
/// holds the folder.
///
/// # Errors
///
/// When it can neither be read nor created, with the file's name.
pub fn prepare_token(dir: &Path) -> io::Result<Secret> {
    let path = dir.join(TOKEN);
    match fs::metadata(&path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                .map_err(|e| of(&path, &e))?;
            tracing::warn!(file = %path.display(), "others could read the token; now they cannot. Delete it and start again for a new one");
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes: [u8; 32] = clock::unguessable().map_err(|e| of(&path, &e))?;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write_whole(&path, &hex).map_err(|e| of(&path, &e))?;
        }
        Err(error) => return Err(of(&path, &error)),
    }
    read_token(dir)
}

/// Returns the token of this data folder.
///
/// # Errors
///
/// When it cannot be read or is invalid, with the file's name.
pub fn read_token(dir: &Path) -> io::Result<Secret> {
    let path = dir.join(TOKEN);
    let text = fs::read_to_string(&path).map_err(|e| of(&path, &e))?;
    let text = text.trim();
    if text.len() < LEAST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = format!(
            "this is no token of {LEAST} or more characters: delete it and start `foghorn serve` again"
        );
        return Err(of(&path, &io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    Ok(Secret::new(text))
}

/// The file with the server's address. It is deleted when this is dropped.
#[derive(Debug)]
pub struct Address(PathBuf);

impl Address {
    /// Writes the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written, with its name.
    pub fn note(dir: &Path, address: SocketAddr) -> io::Result<Self> {
        let path = dir.join(ADDRESS);
        write_whole(&path, &address.to_string()).map_err(|e| of(&path, &e))?;
        Ok(Self(path))
    }

    /// Returns the address at which this machine reaches the server of this data folder; `None` if
    /// no server runs. After a crash the file can be outdated.
    #[must_use]
    pub fn read(dir: &Path) -> Option<SocketAddr> {
        Self::find(dir).ok().flatten()
    }

    /// Returns the address like [`Address::read`].
    ///
    /// # Errors
    ///
    /// When this user may not read the file, with its name.
    pub fn find(dir: &Path) -> io::Result<Option<SocketAddr>> {
        let path = dir.join(ADDRESS);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::reached(&text)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(of(&path, &error)),
            Err(_) => Ok(None),
        }
    }

    fn reached(text: &str) -> Option<SocketAddr> {
        let mut address: SocketAddr = text.trim().parse().ok()?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Some(address)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a file for its owner only, completely or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A crash may have left an unfinished file, and `create_new` would fail on it.
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            read_token(dir.path())
                .unwrap_err()
                .to_string()
                .contains("token")
        );
        let made = prepare_token(dir.path()).unwrap();
        assert_eq!(made.expose().len(), 64);
        let path = dir.path().join(TOKEN);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            prepare_token(dir.path()).unwrap(),
            made,
            "kept, and made private"
        );
        assert_eq!(mode(), 0o600);
        assert_ne!(
            prepare_token(tempfile::tempdir().unwrap().path()).unwrap(),
            made
        );
        fs::write(&path, "short").unwrap();
        assert!(
            prepare_token(dir.path())
                .unwrap_err()
                .to_string()
                .contains("delete it")
        );
    }

    #[test]
    fn an_address_is_there_as_long_as_the_server() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Address::read(dir.path()), None);
        for (listens, reached) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
        ] {
            let noted = Address::note(dir.path(), listens.parse().unwrap()).unwrap();
            assert_eq!(Address::read(dir.path()), Some(reached.parse().unwrap()));
            drop(noted);
            assert_eq!(Address::read(dir.path()), None);
        }
    }
}
