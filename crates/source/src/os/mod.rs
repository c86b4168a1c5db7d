//! The one place that knows the operating system. Everything above speaks of directories, files,
//! stats and attributes.

#[cfg(target_os = "linux")]
#[path = "linux_capture.rs"]
pub(crate) mod capture;
#[cfg(not(target_os = "linux"))]
#[path = "no_capture.rs"]
pub(crate) mod capture;
#[cfg(target_os = "linux")]
mod linux;
mod names;
#[cfg(target_os = "linux")]
#[path = "linux_priority.rs"]
pub(crate) mod priority;
#[cfg(not(target_os = "linux"))]
#[path = "no_priority.rs"]
pub(crate) mod priority;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_replace;
#[cfg(unix)]
mod unix_target;
#[cfg(target_os = "linux")]
#[path = "linux_window.rs"]
pub(crate) mod window;
#[cfg(windows)]
mod windows;

pub(crate) use names::NameList;
#[cfg(unix)]
pub use unix::Dir;
#[cfg(unix)]
pub(crate) use unix::{
    advise_sequential, drop_cache, file_stat, file_xattrs, gid_of, group_name, next_data, read_at, uid_of, user_name,
};
#[cfg(unix)]
pub(crate) use unix_replace::{boot, clone_file, is_forbidden, punch_hole};
#[cfg(unix)]
pub(crate) use unix_target::{Subject, make_private_dir, write_all_at};
#[cfg(windows)]
pub use windows::Dir;
#[cfg(windows)]
pub(crate) use windows::{
    advise_sequential, drop_cache, file_stat, file_xattrs, gid_of, group_name, next_data, read_at, uid_of, user_name,
    write_all_at,
};
