//! Owns sizes, durations and times as people read and write them.

use std::time::{Duration, SystemTime};

/// The current time as the store keeps times.
pub(crate) fn now() -> f64 {
    dolium::timestamp(SystemTime::now())
}

/// `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 entry`, `2 entries`.
pub(crate) fn entries(number: usize) -> String {
    format!("{} {}", count(number), if number == 1 { "entry" } else { "entries" })
}

/// `1 process`, `2 processes`.
pub(crate) fn processes(number: u32) -> String {
    format!("{} {}", count(number), if number == 1 { "process" } else { "processes" })
}

const UNITS: [(f64, &str); 5] =
    [(86_400.0 * 7.0, "w"), (86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")];

/// A duration in its largest unit: `3 h`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.abs();
    let (length, unit) = UNITS.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1.0, "s"));
    format!("{} {unit}", (seconds / length).floor())
}

/// A time as seen from now: `3 h ago`, `in 5 min`.
pub(crate) fn relative(time: f64) -> String {
    let ahead = time - now();
    if !ahead.is_finite() {
        "never".to_owned()
    } else if ahead < 0.0 {
        format!("{} ago", duration(ahead))
    } else {
        format!("in {}", duration(ahead))
    }
}

/// A time in full and as seen from now: `2026-11-23 14:05:12 UTC (3 h ago)`.
pub(crate) fn time(time: f64) -> String {
    format!("{} ({})", date(time), relative(time))
}

/// `2026-11-23 14:05:12 UTC`, by the proleptic Gregorian calendar.
pub(crate) fn date(time: f64) -> String {
    // Beyond year 9999, where Python ends too, the seconds say more.
    if !(0.0..253_402_300_800.0).contains(&time) {
        return format!("{time} s");
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    let seconds = time as i64;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is the last; eras are 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Reads `90`, `500ms`, `5m`, `1h30m`, `2d`, `1w` as seconds.
pub(crate) fn parse_duration(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no duration: write 90, 500ms, 5m, 1h30m, 2d or 1w");
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let length = match &rest[..unit] {
            "" if total == 0.0 => 1.0,
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 86_400.0 * 7.0,
            _ => return Err(wrong()),
        };
        total += number * length;
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// The same for a wait.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(parse_duration(text)?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown = [0, 1023, 1024, 1_572_864, (1 << 20) - 1, 1 << 40].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 MiB", "1.0 TiB"]);
    }

    #[test]
    fn counts() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn dates() {
        assert_eq!(date(0.0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400.0), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_795_442_712.9), "2026-11-23 14:05:12 UTC");
        assert_eq!(date(253_402_300_799.0), "9999-12-31 23:59:59 UTC");
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("90", 90.0), ("1.5", 1.5), ("5m", 300.0), ("1h30m", 5400.0), ("2d", 172_800.0), ("500ms", 0.5)]
        {
            assert_eq!(parse_duration(text), Ok(seconds));
        }
        for wrong in ["", "m", "-5", "5 m", "5x", "1h5"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!([5.0, 90.0, 7200.0, -200_000.0].map(duration), ["5 s", "1 min", "2 h", "2 d"]);
    }
}
