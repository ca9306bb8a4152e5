//! The runbooks of `docs/OPERATIONS.md`, run: every command in them is given to real
//! daemons and must print what the page says.
//!
//! The page is the script. In a block of `console`, a line `$ edgectl …`, `$ edged …`, or
//! one that stops, starts, copies or lists, is a command and what follows is its output; a comment `<!-- stage: … -->` sets the scene for what comes
//! next, and every section begins on a fresh one. What no two runs share is made stable
//! first (`operations/stable.rs`). `EDGED_BLESS=1` writes the page anew from what was
//! printed.

#[path = "operations/stable.rs"]
mod stable;
#[path = "operations/stage.rs"]
mod stage;

use std::path::Path;

use stage::Stage;

#[test]
fn the_runbooks_say_what_the_commands_print() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");

    let played = perform(&page);

    if std::env::var_os("EDGED_BLESS").is_some() {
        std::fs::write(&path, &played).expect("it can be written");
        return;
    }
    for (n, (said, found)) in page.lines().zip(played.lines()).enumerate() {
        let place = format!("docs/OPERATIONS.md:{}", n + 1);
        assert_eq!(
            said, found,
            "{place} is not what is printed (EDGED_BLESS=1 writes it)"
        );
    }
    assert_eq!(page, played, "one is longer than the other");
}

/// The page with the outputs of this run.
fn perform(page: &str) -> String {
    let mut stage = Stage::new();
    let mut out = String::new();
    let (mut inside, mut skipping, mut is_set) = (false, false, true);
    for line in page.lines() {
        if line.starts_with("## ") {
            stage = Stage::new();
            is_set = true;
        }
        if let Some(cue) = cue(line) {
            is_set &= stage.set(cue);
        }
        if !is_set {
            // This machine cannot show it: the page is left as it is.
            out += line;
            out.push('\n');
            continue;
        }
        if line.starts_with("```") {
            inside = line == "```console";
            skipping = false;
        }
        let command = line.strip_prefix("$ ").filter(|_| inside);
        if skipping && command.is_none() {
            continue;
        }
        out += line;
        out.push('\n');
        if let Some(command) = command {
            out += &stage.run(command);
            skipping = true;
        }
    }
    out
}

/// The cue in a comment.
fn cue(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- stage: ")?.strip_suffix(" -->")
}
