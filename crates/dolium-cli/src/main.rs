//! The program `dolium`: everything is in the library, which the Python wheel calls too.

fn main() {
    std::process::exit(dolium_cli::run(std::env::args_os()));
}
