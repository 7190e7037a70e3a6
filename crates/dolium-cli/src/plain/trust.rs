//! Owns the list of globals that every reader of a foreign pickle takes for plain data, as the Python
//! package's `trust` does. Its reader also checks their arguments: this list only tells what to expect.

const PLAIN: &[(&str, &[&str])] = &[
    ("_codecs", &["encode"]),
    (
        "builtins",
        &[
            "Ellipsis",
            "bool",
            "bytearray",
            "bytes",
            "complex",
            "dict",
            "float",
            "frozenset",
            "int",
            "list",
            "object",
            "range",
            "set",
            "slice",
            "str",
            "tuple",
        ],
    ),
    ("collections", &["Counter", "OrderedDict", "defaultdict", "deque"]),
    ("copyreg", &["_reconstructor"]),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("pathlib", &["PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("pathlib._local", &["PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("uuid", &["UUID"]),
    ("zoneinfo", &["ZoneInfo"]),
];

/// Whether the global stands for plain data.
pub(super) fn is_plain(module: &str, name: &str) -> bool {
    // Protocols 0 to 2 use the names of Python 2.
    let module = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        other => other,
    };
    // `getattr(ZoneInfo, '_unpickle')` is how a time zone is pickled.
    (module, name) == ("builtins", "getattr")
        || PLAIN.iter().any(|(known, names)| *known == module && names.contains(&name))
}
