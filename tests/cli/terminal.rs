//! What stands on a terminal.

use super::*;

/// Runs a command line on a terminal of its own, which `script` makes.
fn on_a_terminal(home: &Home, line: &str, environment: &[(&str, &str)]) -> Option<Outcome> {
    if !Path::new("/usr/bin/script").exists() {
        icecore_testkit::skip("there is no `script` to make a terminal");
        return None;
    }
    let mut command = home.command([""; 0]);
    let line = format!("'{}' {line}", command.get_program().to_str().unwrap());
    let (variables, directory) = (command.get_envs(), command.get_current_dir().unwrap().to_owned());
    let mut script = Command::new("script");
    script.env_clear().envs(variables.filter_map(|(name, value)| Some((name, value?)))).current_dir(directory);
    script.envs(environment.iter().copied()).env("SHELL", "/bin/sh").env("TERM", "xterm-256color");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]);
    command = script;
    Some(Running::start(command).finish())
}

#[test]
fn a_terminal_shows_progress_and_colours_unless_told_not_to() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    (0..8).for_each(|number| write(tree.join(number.to_string()), noise(number, 12 << 20)));
    let line = format!("backup '{}'", tree.display());
    let Some(shown) = on_a_terminal(&home, &line, &[]) else { return };
    assert!(shown.clone().expect(0).out().contains("\x1b["), "a line that goes again: {shown}");
    let never = on_a_terminal(&home, &format!("{line} --rehash --progress never"), &[]).unwrap().expect(0);
    assert!(!never.out().contains('\x1b'), "{never}");

    let is_coloured = |text: &str| text.contains("\x1b[1m") || text.contains("\x1b[4m") || text.contains("\x1b[3");
    let coloured = on_a_terminal(&home, "--help", &[]).unwrap().expect(0);
    assert!(is_coloured(&coloured.out()), "{coloured}");
    for line in ["--help", &format!("{line} --rehash"), "no-such-command"] {
        let plain = on_a_terminal(&home, line, &[("NO_COLOR", "1")]).unwrap();
        assert!(!is_coloured(&plain.out()), "{plain}");
    }
}

/// What stands on a terminal in the end, line by line.
fn screen(drawn: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0_usize);
    let mut rest = drawn.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => (row, column) = (row + 1, 0),
            '\x1b' => {
                let mut sequence = String::new();
                for c in rest.by_ref() {
                    sequence.push(c);
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
                match sequence.as_str() {
                    "[2K" => lines[row].clear(),
                    "[K" => lines[row].truncate(column),
                    up if up.ends_with('A') => row -= up[1..up.len() - 1].parse().unwrap_or(1),
                    down if down.ends_with('B') => row += down[1..down.len() - 1].parse().unwrap_or(1),
                    _ => {}
                }
            }
            other => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = other;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let text = |line: Vec<char>| line.into_iter().collect::<String>().trim_end().to_owned();
    lines.into_iter().map(text).collect()
}

/// A line on a terminal of so many columns.
fn on_columns(home: &Home, columns: u16, line: &str) -> Option<Outcome> {
    on_a_terminal(
        home,
        &format!("--version >/dev/null; stty rows 24 cols {columns}; '{}' {line}", env!("CARGO_BIN_EXE_icecore")),
        &[],
    )
}

/// Progress stands on a line of its own that goes again, and never within results.
#[test]
fn long_commands_show_progress_on_terminals_of_any_width_and_leave_results_whole() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    (0..8).for_each(|number| write(tree.join(number.to_string()), noise(number, 12 << 20)));
    (0..6000).for_each(|number| write(tree.join(format!("many/{number:04}")), ""));
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let plain = home.ok(["find", "*"]).out();
    for columns in [200, 30] {
        let Some(found) = on_columns(&home, columns, "find '*'") else { return };
        let lines = screen(&found.expect(0).out()).join("\n");
        assert!(lines.trim_end() == plain.trim_end(), "of {columns} columns: {lines}");

        let (other, key) = (home.path(format!("other {columns}")), home.path(format!("key {columns}")));
        home.ok(args!["init", "--repo", &other, "--generate-password", &key]);
        let to = home.path(format!("to {columns}"));
        for (line, phase, last) in [
            (
                format!("copy --to '{}' --to-password-file '{}'", other.display(), key.display()),
                "copying",
                "1 snapshot copied",
            ),
            (format!("restore tree --to '{}' --verify", to.display()), "restoring", "  time"),
        ] {
            let shown = on_columns(&home, columns, &line).unwrap().expect(0);
            let out = shown.out();
            assert!(out.contains(phase) && out.contains(" %"), "{line}: {shown}");
            let drawn = out.split(['\r', '\n']).map(|part| screen(part).concat());
            let too_long = drawn.filter(|line| line.starts_with(phase)).find(|line| line.len() >= columns.into());
            assert_eq!(too_long, None, "{columns}");
            let lines = screen(&out);
            assert!(!lines.iter().any(|line| line.contains(phase)), "it stays: {lines:#?}");
            assert!(lines.iter().any(|line| line.contains(last)), "{last}: {lines:#?}");
        }
    }
    let quiet = on_a_terminal(&home, "check --read-data --quiet", &[]).unwrap().expect(0);
    assert_eq!(quiet.out(), "");
}
