//! The one table of the names that stand for plain data in a pickle, and how each is rebuilt.
//!
//! A foreign pickle may use these names and no others. A name is compared with the table and never imported; a dot in it
//! means nothing. The Python package has a function for each [`Rebuild`] that checks the arguments and makes the value;
//! the command line only tells which names are foreign.

use Rebuild::{Argument, Call, CallOfNames, Constant};

/// How a reader rebuilds what a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a reader must handle each")]
pub enum Rebuild {
    /// The function of this name checks the arguments, which are data, and makes the value.
    Call(&'static str),
    /// The same, but there may be names among the arguments.
    CallOfNames(&'static str),
    /// It is not called: the name is an argument of such a call.
    Argument,
    /// It is this constant.
    Constant(&'static str),
}

/// Names of a module, which may have another name in Python 2.
type Group = (&'static [&'static str], &'static [(&'static str, Rebuild)]);

const PATHS: &[(&str, Rebuild)] = &[
    ("PosixPath", Call("posix_path")),
    ("PurePosixPath", Call("pure_posix_path")),
    ("PureWindowsPath", Call("pure_windows_path")),
    ("WindowsPath", Call("windows_path")),
];

const MULTIARRAY: &[(&str, Rebuild)] =
    &[("_reconstruct", CallOfNames("array")), ("scalar", Call("array_scalar"))];
const NUMERIC: &[(&str, Rebuild)] = &[("_frombuffer", Call("array_of_buffer"))];

const PLAIN: &[Group] = &[
    (&["_codecs"], &[("encode", Call("encode"))]),
    (
        &["builtins", "__builtin__"],
        &[
            ("Ellipsis", Constant("ellipsis")),
            ("bool", Argument),
            ("bytearray", Call("bytearray")),
            ("bytes", Call("bytes")),
            ("complex", Call("complex")),
            ("dict", Argument),
            ("float", Argument),
            ("frozenset", Call("frozenset")),
            ("getattr", CallOfNames("getattr")),
            ("int", Argument),
            ("list", Argument),
            ("object", Argument),
            ("range", Call("range")),
            ("set", Call("set")),
            ("slice", Call("slice")),
            ("str", Argument),
            ("tuple", Argument),
        ],
    ),
    (
        &["collections"],
        &[
            ("Counter", Call("counter")),
            ("OrderedDict", Call("ordered")),
            ("defaultdict", CallOfNames("defaultdict")),
            ("deque", Call("deque")),
        ],
    ),
    (&["copyreg", "copy_reg"], &[("_reconstructor", CallOfNames("reconstructor"))]),
    (
        &["datetime"],
        &[
            ("date", Call("date")),
            ("datetime", Call("datetime")),
            ("time", Call("time")),
            ("timedelta", Call("timedelta")),
            ("timezone", Call("timezone")),
        ],
    ),
    (&["decimal"], &[("Decimal", Call("decimal"))]),
    (&["fractions"], &[("Fraction", Call("fraction"))]),
    (&["numpy"], &[("dtype", Call("dtype")), ("ndarray", Argument)]),
    // numpy 2 and numpy 1.
    (&["numpy._core.multiarray"], MULTIARRAY),
    (&["numpy.core.multiarray"], MULTIARRAY),
    (&["numpy._core.numeric"], NUMERIC),
    (&["numpy.core.numeric"], NUMERIC),
    (&["pathlib"], PATHS),
    (&["pathlib._local"], PATHS),
    (&["uuid"], &[("UUID", Call("uuid"))]),
    (&["zoneinfo"], &[("ZoneInfo", Call("zone"))]),
];

/// A name for plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a row of a constant table")]
pub struct Name {
    /// The module as pickles name it.
    pub module: &'static str,
    /// The name as pickles have it.
    pub name: &'static str,
    /// The module and the name that Python 3 has: protocols 0 to 2 use those of Python 2.
    pub present: (&'static str, &'static str),
    /// How it is rebuilt.
    pub rebuild: Rebuild,
}

/// All names for plain data.
pub fn all() -> impl Iterator<Item = Name> {
    let listed = PLAIN.iter().flat_map(|&(modules, names)| {
        modules.iter().flat_map(move |&module| {
            names.iter().map(move |&(name, rebuild)| Name {
                module,
                name,
                present: (modules[0], name),
                rebuild,
            })
        })
    });
    let present = ("builtins", "range");
    listed.chain([Name { module: "__builtin__", name: "xrange", present, rebuild: Call("range") }])
}

/// Whether a name stands for plain data.
#[must_use]
pub fn is_plain(module: &str, name: &str) -> bool {
    all().any(|known| (known.module, known.name) == (module, name))
}
