//! What the tier promises, tried on memory of the tests' own: the algorithms are the ones that run on a mapping.

mod bytes;
mod crash;
mod model;
mod mortal;
mod power;
mod weak;
mod world;
