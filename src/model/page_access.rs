use super::{Network, Secret};

/// The part of `server:` that says who may see the page. It may change while Foghorn runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageAccess {
    /// Argon2id hash of the password people log in with.
    pub password: Option<Secret>,
    /// Proxies whose headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Name of the header in which a proxy names the user; `None`: no header is read.
    pub user_header: Option<String>,
    /// Further names people reach this server by, in lower case.
    pub hosts: Vec<String>,
}
