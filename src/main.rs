//! Parses the command line, runs it, chooses the exit code.

fn main() -> std::process::ExitCode {
    foghorn::cli::main()
}
