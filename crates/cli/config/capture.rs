//! `capture` and `[instance.snapshot]`.

use icecore_source::capture::{Choice, SnapshotPath, SnapshotPrograms};
use icecore_source::freezer::FreezerConfig;

use super::error::ConfigError;
use super::freezer::timeout_ms;
use super::section::{Item, Section};

type Result<T> = std::result::Result<T, ConfigError>;

/// The keys of `[instance.snapshot]`.
pub const KEYS: &[&str] = &["create", "destroy", "path", "timeout"];

const CHOICES: [Choice; 4] = [Choice::Auto, Choice::Hold, Choice::Clone, Choice::Snapshot];

/// Reads how hot content is to be secured in an instance's window, and what makes snapshots.
pub fn read(instance: &Section<'_>, freezer: &FreezerConfig) -> Result<(Choice, Option<SnapshotPrograms>)> {
    let programs = match instance.get("snapshot") {
        Some(item) if *freezer == FreezerConfig::None => return Err(unfrozen(&item)),
        Some(item) => programs(&item)?,
        None => None,
    };
    let Some(item) = instance.get("capture") else { return Ok((Choice::Auto, programs)) };
    let choice = item.word(&CHOICES.map(|choice| (choice.name(), choice)))?;
    // What the kernel has frozen takes no writes, and so neither clones nor subvolumes.
    let frozen = matches!(freezer, FreezerConfig::Fsfreeze(_));
    match (choice, &programs) {
        (Choice::Clone | Choice::Snapshot, _) if *freezer == FreezerConfig::None => Err(unfrozen(&item)),
        (Choice::Clone, _) if frozen => Err(item.at.error(
            "cannot be clone with the freezer fsfreeze, which stops all writing, clones included: write auto or hold",
        )),
        (Choice::Snapshot, None) if frozen => Err(item.at.error(
            "cannot be snapshot with the freezer fsfreeze, which stops all writing, btrfs snapshots included: write auto \
             or hold, or name programs that make snapshots elsewhere under [instance.snapshot]",
        )),
        (Choice::Hold | Choice::Clone, Some(_)) => {
            let name = choice.name();
            let next = "write snapshot, or take that away";
            Err(item.at.error(format!("is {name}, which needs no [instance.snapshot]: {next}")))
        }
        _ => Ok((choice, programs)),
    }
}

fn unfrozen(item: &Item<'_>) -> ConfigError {
    item.at.error(
        "has no meaning without a freezer, because nothing is captured then: write [instance.freezer], or take it away",
    )
}

/// `None` if something that must be there is not.
fn programs(item: &Item<'_>) -> Result<Option<SnapshotPrograms>> {
    let section = item.section(KEYS)?;
    let create = section.require("create", "[\"/usr/local/bin/snap-create\", \"cust01\"]", Item::program);
    let destroy = section.require("destroy", "[\"/usr/local/bin/snap-destroy\", \"cust01\"]", Item::program);
    let path = section.require("path", "\"/mnt/snap{root}\"", path);
    let timeout_ms = timeout_ms(&section);
    let all = create.zip(destroy).zip(path);
    Ok(all.map(|((create, destroy), path)| SnapshotPrograms { create, destroy, path, timeout_ms }))
}

fn path(item: &Item<'_>) -> Result<SnapshotPath> {
    if item.is_list() {
        return item.program().map(SnapshotPath::Program);
    }
    let template = item.text()?;
    if !template.starts_with('/') && !template.starts_with("{root}") {
        return Err(item
            .at
            .error(format!("{template:?} is not an absolute path: write it from / on, or from {{root}} on")));
    }
    // A slip in a placeholder would be looked for as a directory of that name.
    let rest = template.replace("{root}", "").replace("{name}", "");
    match rest.contains(['{', '}']) {
        true => Err(item.at.error("has braces around what is unknown: {root} and {name} are known")),
        false => Ok(SnapshotPath::Template(template.to_owned())),
    }
}
