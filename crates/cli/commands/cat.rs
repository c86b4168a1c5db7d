//! `icecore cat`: the content of one file.

use std::io::{self, Write};
use std::path::Path;

use icecore_engine::{Error as EngineError, browse};

use super::{catalogue, doubts, find, open};
use crate::args::CatArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(args: &CatArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    if output.manner().json {
        return Err(Error::Misuse("cat prints the bytes of a file, which have no JSON: leave --json out".to_owned()));
    }
    let (snapshot, path) = browse::split_path(args.target.as_encoded_bytes());
    if path.is_empty() {
        let shown = Path::new(&args.target).display();
        return Err(Error::Misuse(format!("\"{shown}\" names no file: expected SNAP:PATH, as in wiki:config.php")));
    }
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let name = String::from_utf8_lossy(snapshot);
    let stored = find(&catalogue, &name)?;
    let is_doubtful = !doubts(&catalogue, stored, &name).is_empty();
    let to_terminal = output.manner().terminal;
    let (mut refused, mut last) = (false, 0);
    let mut failed: Option<io::Error> = None;
    // The bytes themselves show how far it has come where somebody sees them.
    let show = output.manner().progress && !to_terminal;
    let printed = progress::attend(show, |progress| {
        browse::cat(&opened.archive, stored, &path, progress, &mut |bytes| {
            // Bytes of others could make a terminal do what its owner does not want.
            refused = to_terminal && bytes.iter().any(|byte| controls(std::mem::replace(&mut last, *byte), *byte));
            if refused {
                return Err(EngineError::Interrupted);
            }
            failed = output.write_all(bytes).err();
            if failed.is_some() || output.is_unread() { Err(EngineError::Interrupted) } else { Ok(()) }
        })
    })?;
    match (failed, printed) {
        (Some(error), _) => Err(error.into()),
        (None, Err(EngineError::Interrupted)) if refused => Err(Error::Misuse(
            "the file is no text, and stdout is a terminal: send it to a file or through a pipe".to_owned(),
        )),
        (None, Err(EngineError::Interrupted)) if output.is_unread() => Ok(Code::Done),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(printed)) => {
            if let Some(lost) = &printed.lost {
                let bytes = human::count(printed.bytes);
                let told = match printed.size {
                    Some(size) => format!("only the first {bytes} of {} bytes were printed", human::count(size)),
                    None => "nothing was printed".to_owned(),
                };
                output.warn(format_args!(
                    "{}: {told}: {}; `icecore history` shows other nights",
                    human::path(&path),
                    human::printable(lost)
                ));
            }
            Ok(Code::partial_if(printed.lost.is_some() || is_doubtful))
        }
    }
}

/// Whether a byte behind another is a control character: of ASCII, but for those of text, or of Latin-1 in UTF-8 (U+0080 to U+009F).
fn controls(last: u8, byte: u8) -> bool {
    byte.is_ascii_control() && !b"\t\n\r\x0c".contains(&byte) || last == 0xc2 && (0x80..0xa0).contains(&byte)
}
