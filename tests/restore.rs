//! Restores that an operator can trust: in place, by exchange, interrupted, against damage and hostility.

mod application;
mod claims;
mod exchange;
mod held;
mod in_place;
mod kill;
mod mounts;
mod new_instance;
mod programs;
mod random;
mod roots;
mod selecting;
mod trouble;
mod verify;

use std::path::{Path, PathBuf};

use crate::common::{Home, settle};

/// A user with a tree at a place of hers, which was filled, has settled, and is backed up as the series `tree`.
fn backed_up(place: &str, fill: impl FnOnce(&Path)) -> (Home, PathBuf) {
    let home = Home::with_repository();
    let tree = home.make_dir(place);
    fill(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    (home, tree)
}
