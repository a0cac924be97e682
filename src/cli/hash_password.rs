//! `hash-password`: creates the hash for `server.password`, so that the password itself is not
//! stored anywhere.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::{Failure, out};
use crate::clock;
use crate::model::Secret;
use crate::password::{LEAST, hash};

/// Maximum length of a password in bytes.
const MOST: u64 = 1_024;

pub(super) fn run() -> Result<(), Failure> {
    let password = if io::stdin().is_terminal() {
        ask()?
    } else {
        piped(io::stdin().lock())?
    };
    let characters = password.expose().chars().count();
    if characters < LEAST {
        return Err(Failure::usage(format!(
            "a password needs at least {LEAST} characters, this one has {characters}"
        )));
    }
    let salt = clock::unguessable()
        .map_err(|error| Failure::unexpected(format!("no random numbers available: {error}")))?;
    let hash = hash(&password, &salt).map_err(Failure::unexpected)?;
    out(&format!("{}\n", hash.expose()));
    if io::stdout().is_terminal() {
        eprintln!("put the hash into rules.yaml, in quotes: server: {{password: '…'}}");
    }
    Ok(())
}

/// Reads the whole input without the final line break.
fn piped(input: impl BufRead) -> Result<Secret, Failure> {
    let mut text = String::new();
    input
        .take(MOST + 1)
        .read_to_string(&mut text)
        .map_err(|_| Failure::usage("the password is not UTF-8 text"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.len() as u64 > MOST || line.contains(char::is_control) {
        return Err(Failure::usage(format!(
            "a password is one line of at most {MOST} bytes"
        )));
    }
    Ok(Secret::new(line))
}

/// Asks for the password twice, because the terminal does not show it.
fn ask() -> Result<Secret, Failure> {
    let first = typed("password: ")?;
    let again = typed("repeat the password: ")?;
    if first == again {
        Ok(first)
    } else {
        Err(Failure::usage("the two passwords differ"))
    }
}

fn typed(prompt: &str) -> Result<Secret, Failure> {
    let unseen =
        Unseen::begin().map_err(|error| Failure::unexpected(format!("the terminal: {error}")))?;
    eprint!("{prompt}");
    let _ = io::stderr().flush();
    let line = edited(io::stdin().lock().bytes());
    drop(unseen);
    eprintln!();
    let line = line.map_err(|error| Failure::unexpected(format!("the terminal: {error}")))?;
    piped(
        line.ok_or_else(|| Failure::usage("no password"))?
            .as_slice(),
    )
}

/// Reads a line with the usual editing keys. `None` means that the user gave up.
fn edited(keys: impl Iterator<Item = io::Result<u8>>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    for key in keys {
        match key? {
            b'\n' | b'\r' => return Ok(Some(line)),
            // Ctrl-C, Ctrl-D
            3 | 4 => return Ok(None),
            // Backspace removes all bytes of a UTF-8 character.
            8 | 0x7f => while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {},
            // Ctrl-U
            0x15 => line.clear(),
            key => line.push(key),
        }
    }
    Ok(None)
}

/// A terminal without echo and signals, until dropped. Signals are off because Ctrl-C would leave
/// the echo off.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VMIN] = 1;
        unseen.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_as_it_is_typed() {
        let typed = |keys: &[u8]| {
            edited(keys.iter().map(|key| Ok(*key)))
                .unwrap()
                .map(|l| String::from_utf8(l).unwrap())
        };
        assert_eq!(typed(b"abc\n").as_deref(), Some("abc"));
        assert_eq!(typed("xé\x7fy\r".as_bytes()).as_deref(), Some("xy"));
        assert_eq!(typed(b"\x7fwrong\x15right\n").as_deref(), Some("right"));
        assert_eq!(
            (typed(b"abc\x03"), typed(b"\x04"), typed(b"abc")),
            (None, None, None)
        );
    }

    #[test]
    fn what_is_piped_is_one_line() {
        let read = |text: &str| {
            piped(text.as_bytes())
                .map(|password| password.expose().to_owned())
                .ok()
        };
        for (text, password) in [
            ("abc", "abc"),
            ("a c \n", "a c "),
            ("abc\r\n", "abc"),
            ("", ""),
        ] {
            assert_eq!(read(text).as_deref(), Some(password), "{text:?}");
        }
        assert_eq!(read("abc\ndef\n"), None);
        assert_eq!(read(&"x".repeat(1_025)), None);
    }
}
