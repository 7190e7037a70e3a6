//! The program as its users run it: on real directories, by its arguments, output and exit codes.

mod caches;
mod entries;
mod safety;
mod transfer;
mod world;
