use super::{Network, Secret};

/// The settings in `server:` that decide who may see the page. They may change while Foghorn runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageAccess {
    /// Argon2id hash of the password people log in with.
    pub password: Option<Secret>,
    /// Proxies whose headers are trusted.
    pub trusted_proxies: Vec<Network>,
    /// Name of the header in which a proxy names the user; `None`: no header is read.
    pub user_header: Option<String>,
    /// Further host names of this server, in lower case.
    pub hosts: Vec<String>,
}
