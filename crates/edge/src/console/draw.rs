//! Drawings: SVG that is made here, with presentation attributes only, as a strict content security policy wants it.

use std::fmt::Write as _;

use treatment::Day;

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 210.0;
/// Room for the axes' words.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 26.0;

pub(super) const INK: &str = "#16212b";
pub(super) const QUIET: &str = "#51606d";

/// Dose against time, in Gy.
pub(super) struct DoseCurve<'a> {
    /// After each day of treatment, rising.
    pub(super) by_day: &'a [(Day, f64)],
    pub(super) prescribed: Option<f64>,
    pub(super) at_least: f64,
    /// None where nobody can say.
    pub(super) at_most: Option<f64>,
}

/// `None` where nothing was given on a day that is known.
pub(super) fn dose_curve(curve: &DoseCurve<'_>) -> Option<String> {
    let DoseCurve { by_day, prescribed, at_least, at_most } = curve;
    let ((first, _), (last, _)) = (by_day.first()?, by_day.last()?);
    let days = f64::from(last.since(*first).max(1));
    let top = [*prescribed, *at_most, Some(*at_least)].into_iter().flatten().fold(0.0, f64::max) * 1.05;
    if top <= 0.0 {
        return None;
    }
    let x = |day: &Day| LEFT + (WIDTH - LEFT - RIGHT) * f64::from(day.since(*first)) / days;
    let y = |dose: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - dose / top);
    let (end, ground) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let what = format!("Dose against time: at least {at_least:.2} Gy by {last}");
    let mut svg = format!(
        "<svg class=\"drawing\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{what}\">\
         <path d=\"M{LEFT} {TOP}V{ground}H{end}\" fill=\"none\" stroke=\"{QUIET}\"/>"
    );
    let mut text = |x: f64, y: f64, anchor: &str, said: &str| {
        // `write!` to a String doesn't fail.
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"12\" fill=\"{INK}\">{said}</text>"
        );
    };
    text(LEFT - 6.0, ground + 4.0, "end", "0 Gy");
    text(LEFT, HEIGHT - 8.0, "start", &first.to_string());
    if last > first {
        text(end, HEIGHT - 8.0, "end", &last.to_string());
    }
    text(end + 6.0, y(*at_least) + 4.0, "start", &format!("{at_least:.2} Gy"));
    if let Some(prescribed) = prescribed {
        text(LEFT - 6.0, y(*prescribed) + 4.0, "end", &format!("{prescribed:.2}"));
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{end}\" fill=\"none\" stroke=\"{QUIET}\" stroke-dasharray=\"5 4\"/>",
            y(*prescribed)
        );
    }
    // A step for each day: dose is given in fractions.
    let mut steps = format!("M{LEFT} {ground}");
    for (day, dose) in *by_day {
        let _ = write!(steps, "H{:.1}V{:.1}", x(day), y(*dose));
    }
    let _ = write!(svg, "<path d=\"{steps}H{end}\" fill=\"none\" stroke=\"{INK}\" stroke-width=\"2\"/>");
    // What may have been given beside it.
    if let Some(most) = at_most.filter(|most| most > at_least) {
        let _ = write!(
            svg,
            "<path d=\"M{end} {:.1}V{:.1}\" stroke=\"{INK}\" stroke-width=\"6\" stroke-opacity=\".45\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" fill=\"{INK}\">to {most:.2} Gy</text>",
            y(*at_least),
            y(most),
            end + 6.0,
            y(most) - 4.0
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// What a beam has delivered of what it is to deliver in the whole course, from nought to 1.
pub(super) fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * 120.0).round();
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 120 10\" width=\"120\" height=\"10\" aria-hidden=\"true\">\
         <rect x=\".5\" y=\".5\" width=\"119\" height=\"9\" fill=\"none\" stroke=\"{QUIET}\"/>\
         <rect width=\"{filled}\" height=\"10\" fill=\"{INK}\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_drawn_is_what_was_given() {
        let by_day = [(day("2026-01-05"), 2.0), (day("2026-01-06"), 4.0)];
        let curve = DoseCurve { by_day: &by_day, prescribed: Some(60.0), at_least: 4.0, at_most: Some(6.0) };
        let svg = dose_curve(&curve).unwrap();
        for said in ["4.00 Gy", "to 6.00 Gy", "60.00", "2026-01-05", "2026-01-06", "stroke-dasharray"] {
            assert!(svg.contains(said), "{said}: {svg}");
        }
        assert!(!svg.contains("style="), "the policy forbids it");
        // 2 of 63 Gy are at 1/31.5 of the height, on the first day.
        assert!(svg.contains("M58 184H58.0V178.6H524.0V173.2H524"), "{svg}");
        let nothing = dose_curve(&DoseCurve { by_day: &[], prescribed: None, at_least: 0.0, at_most: None });
        assert!(nothing.is_none());
        assert!(
            bar(0.5).contains("width=\"60\"")
                && bar(7.0).contains("width=\"120\"")
                && bar(-1.0).contains("width=\"0\"")
        );
    }
}
