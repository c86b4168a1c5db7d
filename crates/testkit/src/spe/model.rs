//! What a simulated installation consists of.

use std::fmt;

/// A function that is called with an instance's id when that instance has become quiet, or may write again.
pub type Hook = Box<dyn FnMut(&str) + Send>;

/// What a simulator is started with.
pub struct Options {
    /// The instances that it serves.
    pub instances: Vec<Instance>,
    /// The administrator.
    pub user: String,
    /// The administrator's password.
    pub password: String,
    /// Called when an instance is frozen; the freeze is confirmed only when this has returned.
    pub on_freeze: Hook,
    /// Called when an instance is no longer frozen, however that came; the thaw is confirmed only when this has returned.
    pub on_thaw: Hook,
    /// Called when an instance is stopped: it may not write any more, and closes its files.
    pub on_stop: Hook,
    /// Called when an instance is started, before it is said to run; also when it was just made.
    pub on_start: Hook,
}

impl Options {
    /// One administrator, `admin` with the password `secret`, and hooks that do nothing.
    pub fn new(instances: Vec<Instance>) -> Self {
        Self {
            instances,
            user: "admin".into(),
            password: "secret".into(),
            on_freeze: Box::new(|_| {}),
            on_thaw: Box::new(|_| {}),
            on_stop: Box::new(|_| {}),
            on_start: Box::new(|_| {}),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("instances", &self.instances).field("user", &self.user).finish_non_exhaustive()
    }
}

/// An instance as it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id, which the API's filters mean.
    pub id: String,
    /// Its name for people.
    pub display_name: String,
    /// Its base directory, as a path of the server.
    pub base_directory: String,
    /// Its stores.
    pub stores: Vec<Store>,
    /// Whether it runs when the simulator starts.
    pub status: Status,
}

impl Instance {
    /// A running instance beneath `E:\`, with one store in its base directory.
    pub fn new(id: &str) -> Self {
        let base_directory = format!(r"E:\{}", id.to_uppercase());
        let store = Store::beneath(&base_directory, "2018-11");
        Self {
            id: id.into(),
            display_name: format!("Customer {id}"),
            base_directory,
            stores: vec![store],
            status: Status::Running,
        }
    }
}

/// A store of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Its name.
    pub name: String,
    /// Where its database stands.
    pub database_path: String,
    /// Where its content stands.
    pub content_path: String,
    /// Where its full-text index stands.
    pub index_path: String,
}

impl Store {
    /// The same below a directory of this host.
    pub fn below(directory: &str, name: &str) -> Self {
        let database_path = format!("{directory}/Data/{name}");
        Self {
            name: name.into(),
            content_path: format!("{database_path}/Content"),
            index_path: format!("{database_path}/Index"),
            database_path,
        }
    }

    /// A store in `Data\<name>` of a directory, laid out as MailStore does.
    pub fn beneath(directory: &str, name: &str) -> Self {
        let database_path = format!(r"{directory}\Data\{name}");
        Self {
            name: name.into(),
            content_path: format!(r"{database_path}\Content"),
            index_path: format!(r"{database_path}\Index"),
            database_path,
        }
    }
}

/// Whether an instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its process runs.
    Running,
    /// It has no process.
    Stopped,
}
