//! Drawings of beams: what comes through the collimator, seen from the source, and how the gantry turns. As in [`super::draw`], SVG
//! with presentation attributes only; nothing in it but numbers, so that no name can end an attribute.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use treatment::{ApplicatorOpening, BeamShape, Opening, Piece, Turn};

use super::draw::{INK, QUIET};

/// Both drawings are squares.
const SIDE: f64 = 260.0;
const MIDDLE: f64 = SIDE / 2.0;
/// From the middle to the frame of a beam's-eye view.
const REACH: f64 = 112.0;
/// What is never smaller than this: a stereotactic field is seen with its surroundings.
const HALF_FIELD_CM_MIN: f64 = 4.0;
const HALF_FIELD_CM_MAX: f64 = 100.0;
const LIGHT: &str = "#d9e0e6";
/// The largest dot of a spot map.
const DOT: f64 = 4.5;

/// How far a beam's-eye view must reach, in whole centimetres from the isocentre.
pub(super) fn half_field_cm(shape: &BeamShape) -> f64 {
    let pieces = shape.openings.iter().flat_map(|one| &one.pieces);
    let mut ends: Vec<f64> = pieces.flat_map(|piece| piece.x_mm.into_iter().chain(piece.y_mm)).collect();
    ends.extend(shape.blocks.iter().filter(|block| block.is_aperture).flat_map(|block| &block.edge_mm).flatten());
    ends.extend(shape.spots.iter().flat_map(|spots| &spots.dots).flat_map(|dot| [dot.x_mm, dot.y_mm]));
    ends.extend(match shape.applicator.as_ref().and_then(|one| one.opening) {
        Some(ApplicatorOpening::Rectangle { x_mm, y_mm }) => vec![x_mm / 2.0, y_mm / 2.0],
        Some(ApplicatorOpening::Circle { diameter_mm }) => vec![diameter_mm / 2.0],
        None => Vec::new(),
    });
    let furthest = ends.into_iter().fold(0.0, |furthest: f64, end| furthest.max(end.abs()));
    (furthest / 10.0 + 1.0).ceil().clamp(HALF_FIELD_CM_MIN, HALF_FIELD_CM_MAX)
}

/// What a beam's-eye view shows is to be told from what it leaves out.
pub(super) fn caption(shape: &BeamShape) -> String {
    let mut said = Vec::new();
    if shape.openings_in_all > 1 {
        let shown = shape.openings.len();
        let of = match shown == shape.openings_in_all {
            true => format!("{shown} shapes over one another"),
            false => format!("{shown} of {} shapes over one another", shape.openings_in_all),
        };
        said.push(format!("{of}, the first outlined"));
    }
    if let Some(spots) = &shape.spots {
        let added = spots.square_mm.map_or(String::new(), |side| format!(", added up in squares of {side} mm"));
        said.push(format!("{} spots in {} layers{added}: area by meterset", spots.in_all, spots.layers));
    }
    for block in &shape.blocks {
        let kind = if block.is_aperture { "an aperture" } else { "shielding" };
        let drawn = block.edge_mm.len();
        let of = (drawn < block.points_in_all).then(|| format!(", {drawn} of {} points", block.points_in_all));
        said.push(format!("{}: {kind}{}", block.name, of.unwrap_or_default()));
    }
    if let Some(applicator) = &shape.applicator {
        let opening = match applicator.opening {
            Some(ApplicatorOpening::Rectangle { x_mm, y_mm }) => {
                format!("{:.1} × {:.1} cm, dashed", x_mm / 10.0, y_mm / 10.0)
            }
            Some(ApplicatorOpening::Circle { diameter_mm }) => format!("⌀ {:.1} cm, dashed", diameter_mm / 10.0),
            None => "its opening isn’t in the plan".to_owned(),
        };
        said.push(format!("applicator {}: {opening}", applicator.id));
    }
    if said.is_empty() && shape.openings.is_empty() {
        said.push("the plan says nothing of an opening".to_owned());
    }
    said.join("; ")
}

/// From the source towards the isocentre, by IEC 61217: X to the right, Y up, in the plane of the isocentre.
pub(super) fn beams_eye_view(shape: &BeamShape, half_field_cm: f64) -> String {
    let scale = REACH / (half_field_cm * 10.0);
    let (x, y) = (|mm: f64| MIDDLE + mm * scale, |mm: f64| MIDDLE - mm * scale);
    let axis = if shape.is_ion { 'g' } else { 'b' };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"Beam’s-eye view of beam {}, {half_field_cm:.0} cm from the \
         isocentre to each side\">",
        shape.number
    );
    // `write!` to a String doesn't fail.
    let faint = match shape.openings.len() {
        0 | 1 => 0.15,
        #[allow(clippy::cast_precision_loss)] // a few
        several => (0.6 / several as f64).clamp(0.04, 0.2),
    };
    for opening in &shape.openings {
        let mut pieces = String::new();
        for Piece { x_mm: [left, right], y_mm: [low, high] } in &opening.pieces {
            let _ = write!(pieces, "M{:.1} {:.1}H{:.1}V{:.1}H{:.1}z", x(*left), y(*low), x(*right), y(*high), x(*left));
        }
        let _ = write!(svg, "<path d=\"{pieces}\" fill=\"{INK}\" fill-opacity=\"{faint:.2}\"/>");
    }
    for block in &shape.blocks {
        let points = block.edge_mm.iter().map(|[at_x, at_y]| format!("{:.1},{:.1}", x(*at_x), y(*at_y)));
        let points = points.collect::<Vec<_>>().join(" ");
        let (fill, opacity) = if block.is_aperture { (LIGHT, "0.6") } else { (INK, "0.45") };
        let _ = write!(
            svg,
            "<polygon points=\"{points}\" fill=\"{fill}\" fill-opacity=\"{opacity}\" stroke=\"{INK}\" stroke-width=\"1.5\"/>"
        );
    }
    graticule(&mut svg, half_field_cm, axis);
    if let Some(first) = shape.openings.first() {
        let mut outline = String::new();
        for [from, to] in edges(first) {
            let _ = write!(outline, "M{:.1} {:.1}L{:.1} {:.1}", x(from[0]), y(from[1]), x(to[0]), y(to[1]));
        }
        let _ = write!(
            svg,
            "<path d=\"{outline}\" fill=\"none\" stroke=\"{INK}\" stroke-width=\"1.5\" stroke-linecap=\"square\"/>"
        );
    }
    let dashed = format!("fill=\"none\" stroke=\"{INK}\" stroke-width=\"1.2\" stroke-dasharray=\"6 3\"");
    match shape.applicator.as_ref().and_then(|one| one.opening) {
        Some(ApplicatorOpening::Rectangle { x_mm, y_mm }) => {
            let (left, top) = (x(-x_mm / 2.0), y(y_mm / 2.0));
            let (width, height) = (x_mm * scale, y_mm * scale);
            let _ = write!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {dashed}/>"
            );
        }
        Some(ApplicatorOpening::Circle { diameter_mm }) => {
            let radius = diameter_mm / 2.0 * scale;
            let _ = write!(svg, "<circle cx=\"{MIDDLE}\" cy=\"{MIDDLE}\" r=\"{radius:.1}\" {dashed}/>");
        }
        None => {}
    }
    let dots = shape.spots.iter().flat_map(|spots| &spots.dots);
    let most = dots.clone().fold(0.0, |most: f64, dot| most.max(dot.share));
    for dot in dots.filter(|_| most > 0.0) {
        // By area.
        let radius = DOT * (dot.share / most).sqrt();
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.2}\" fill=\"{INK}\" fill-opacity=\".65\"/>",
            x(dot.x_mm),
            y(dot.y_mm)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A frame, both axes, a tick for each centimetre and a longer one for each fifth.
fn graticule(svg: &mut String, half_field_cm: f64, axis: char) {
    let (near, far) = (MIDDLE - REACH, MIDDLE + REACH);
    let side = 2.0 * REACH;
    let _ = write!(
        svg,
        "<rect x=\"{near}\" y=\"{near}\" width=\"{side}\" height=\"{side}\" fill=\"none\" stroke=\"{QUIET}\"/>\
         <path d=\"M{near} {MIDDLE}H{far}M{MIDDLE} {near}V{far}\" stroke=\"{INK}\" stroke-width=\".7\"/>"
    );
    // Ticks that run into one another say nothing.
    let step = if half_field_cm > 25.0 { 5 } else { 1 };
    let numbered = match half_field_cm {
        ..=6.0 => 2,
        ..=25.0 => 5,
        _ => 20,
    };
    let mut ticks = String::new();
    let mut said = Vec::new();
    let mut cm = step;
    while f64::from(cm) < half_field_cm {
        let away = REACH * f64::from(cm) / half_field_cm;
        let length = if cm % 5 == 0 { 5.0 } else { 2.5 };
        for at in [MIDDLE - away, MIDDLE + away] {
            let _ = write!(
                ticks,
                "M{at:.1} {:.1}v{}M{:.1} {at:.1}h{}",
                MIDDLE - length,
                2.0 * length,
                MIDDLE - length,
                2.0 * length
            );
        }
        if cm % numbered == 0 {
            said.push((cm, away));
        }
        cm += step;
    }
    let _ = write!(svg, "<path d=\"{ticks}\" stroke=\"{INK}\" stroke-width=\".7\"/>");
    for (cm, away) in said {
        for (number, at) in [(cm, away), (-cm, -away)] {
            text(svg, (MIDDLE + at, MIDDLE + 16.0), "middle", &number.to_string());
            text(svg, (MIDDLE - 8.0, MIDDLE - at + 3.5), "end", &number.to_string());
        }
    }
    text(svg, (far + 3.0, MIDDLE + 3.5), "start", &format!("X{axis}"));
    text(svg, (MIDDLE, near - 5.0), "middle", &format!("Y{axis}, cm"));
}

/// With a white rim, so that it is read on grey.
fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, said: &str) {
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"10\" fill=\"{INK}\" stroke=\"#fff\" \
         stroke-width=\"2.5\" paint-order=\"stroke\">{said}</text>"
    );
}

/// Where an opening ends: each edge of a piece, but where another piece lies on its other side.
fn edges(opening: &Opening) -> Vec<[[f64; 2]; 2]> {
    // Along lines of one coordinate, in whole hundredths of a millimetre, so that the same line is the same.
    #[allow(clippy::cast_possible_truncation)] // some metres at most
    let whole = |mm: f64| (mm * 100.0).round() as i64;
    #[allow(clippy::cast_precision_loss)] // as they were
    let mm = |hundredths: i64| hundredths as f64 / 100.0;
    let (mut upright, mut level): (BTreeMap<i64, Vec<i64>>, BTreeMap<i64, Vec<i64>>) = Default::default();
    for Piece { x_mm, y_mm } in &opening.pieces {
        let (of_x, of_y) = (x_mm.map(whole), y_mm.map(whole));
        of_x.into_iter().for_each(|at| upright.entry(at).or_default().extend(of_y));
        of_y.into_iter().for_each(|at| level.entry(at).or_default().extend(of_x));
    }
    // What is covered twice is no edge: sorted, the ends of what is covered once follow each other in pairs.
    let once = |mut ends: Vec<i64>| {
        ends.sort_unstable();
        ends.chunks_exact(2).filter_map(|pair| <[i64; 2]>::try_from(pair).ok()).filter(|[from, to]| from < to).collect()
    };
    let mut edges = Vec::new();
    for (at, ends) in upright {
        let spans: Vec<[i64; 2]> = once(ends);
        edges.extend(spans.into_iter().map(|[from, to]| [[mm(at), mm(from)], [mm(at), mm(to)]]));
    }
    for (at, ends) in level {
        let spans: Vec<[i64; 2]> = once(ends);
        edges.extend(spans.into_iter().map(|[from, to]| [[mm(from), mm(at)], [mm(to), mm(at)]]));
    }
    edges
}

/// Radii of the gantry's drawing: its dial, and the rings between which arcs lie.
const DIAL: f64 = 96.0;
const OUTERMOST: f64 = 88.0;
const INNERMOST: f64 = 30.0;

/// Seen from the foot of the couch, by IEC 61217: 0° is up, and an angle grows clockwise. Arcs on rings, from the first beam inwards;
/// where the gantry stands, a spoke. None where nothing is said of an angle.
pub(super) fn gantry(shapes: &[BeamShape]) -> Option<String> {
    let arcs: Vec<(u32, Turn)> = (shapes.iter())
        .flat_map(|shape| shape.gantry.iter().map(|turn| (shape.number, *turn)))
        .filter(|(_, turn)| turn.sweep_deg != 0.0)
        .collect();
    let mut spokes: BTreeMap<String, (f64, Vec<String>)> = BTreeMap::new();
    for (number, turn) in shapes.iter().flat_map(|shape| shape.gantry.iter().map(|turn| (shape.number, turn))) {
        if turn.sweep_deg == 0.0 {
            let key = format!("{:06.2}", turn.from_deg);
            spokes.entry(key).or_insert((turn.from_deg, Vec::new())).1.push(number.to_string());
        }
    }
    if arcs.is_empty() && spokes.is_empty() {
        return None;
    }
    let mut svg = format!(
        "<svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"Gantry angles of {} beams, seen from the foot of the couch\">\
         <circle cx=\"{MIDDLE}\" cy=\"{MIDDLE}\" r=\"{DIAL}\" fill=\"none\" stroke=\"{QUIET}\"/>",
        shapes.len()
    );
    let mut ticks = String::new();
    for step in 0..36 {
        let angle = f64::from(step) * 10.0;
        let length = if step % 9 == 0 { 7.0 } else { 3.5 };
        let ([from_x, from_y], [to_x, to_y]) = (at(angle, DIAL), at(angle, DIAL - length));
        let _ = write!(ticks, "M{from_x:.1} {from_y:.1}L{to_x:.1} {to_y:.1}");
        if step % 9 == 0 {
            let [x, y] = at(angle, DIAL + 14.0);
            text(&mut svg, (x, y + 3.5), "middle", &format!("{angle:.0}°"));
        }
    }
    let _ = write!(
        svg,
        "<path d=\"{ticks}\" stroke=\"{QUIET}\"/>\
         <path d=\"M{0} {MIDDLE}h8M{MIDDLE} {0}v8\" stroke=\"{INK}\" stroke-width=\"1.2\"/>",
        MIDDLE - 4.0
    );
    #[allow(clippy::cast_precision_loss)] // a few dozen
    let ring = (OUTERMOST - INNERMOST) / (arcs.len().max(2) as f64 - 0.5);
    let mut radius = OUTERMOST;
    for (number, turn) in &arcs {
        arc(&mut svg, *number, *turn, radius);
        radius -= ring.min(15.0);
    }
    for (angle, numbers) in spokes.into_values() {
        let ([from_x, from_y], [to_x, to_y]) = (at(angle, DIAL - 8.0), at(angle, 14.0));
        let _ = write!(
            svg,
            "<path d=\"M{from_x:.1} {from_y:.1}L{to_x:.1} {to_y:.1}\" stroke=\"{INK}\" stroke-width=\"1.5\"/>"
        );
        arrow(&mut svg, at(angle, 8.0), angle + 180.0);
        let [x, y] = at(angle, 66.0);
        text(&mut svg, (x, y + 3.5), "middle", &numbers.join(", "));
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// From a bar to an arrow.
fn arc(svg: &mut String, number: u32, Turn { from_deg, sweep_deg }: Turn, radius: f64) {
    let [x, y] = at(from_deg, radius);
    let mut path = format!("M{x:.1} {y:.1}");
    let clockwise = u8::from(sweep_deg > 0.0);
    // No piece over a third of a turn: there are two ways to draw a half.
    let pieces = (sweep_deg.abs() / 120.0).ceil().max(1.0);
    let mut done = 0.0;
    while done < pieces {
        done += 1.0;
        let [x, y] = at(from_deg + sweep_deg * done / pieces, radius);
        let _ = write!(path, "A{radius:.1} {radius:.1} 0 0 {clockwise} {x:.1} {y:.1}");
    }
    let ([in_x, in_y], [out_x, out_y]) = (at(from_deg, radius - 4.0), at(from_deg, radius + 4.0));
    let _ = write!(
        svg,
        "<path d=\"{path}M{in_x:.1} {in_y:.1}L{out_x:.1} {out_y:.1}\" fill=\"none\" stroke=\"{INK}\" stroke-width=\"1.5\"/>"
    );
    let end = from_deg + sweep_deg;
    arrow(svg, at(end, radius), end + if sweep_deg > 0.0 { 90.0 } else { -90.0 });
    let [x, y] = at(from_deg + sweep_deg / 2.0, radius);
    text(svg, (x, y + 3.5), "middle", &number.to_string());
}

/// A point at an angle of the dial.
fn at(angle_deg: f64, radius: f64) -> [f64; 2] {
    let angle = angle_deg.to_radians();
    [MIDDLE + radius * angle.sin(), MIDDLE - radius * angle.cos()]
}

/// Its tip, and where it points, as an angle of the dial.
fn arrow(svg: &mut String, [x, y]: [f64; 2], points_to_deg: f64) {
    let back = |turned: f64| {
        let angle = (points_to_deg + turned).to_radians();
        (x + 8.0 * angle.sin(), y - 8.0 * angle.cos())
    };
    let ((left_x, left_y), (right_x, right_y)) = (back(155.0), back(205.0));
    let _ =
        write!(svg, "<path d=\"M{x:.1} {y:.1}L{left_x:.1} {left_y:.1}L{right_x:.1} {right_y:.1}z\" fill=\"{INK}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(number: u32, gantry: Vec<Turn>, pieces: Vec<Piece>) -> BeamShape {
        BeamShape {
            number,
            name: None,
            is_ion: false,
            control_points: 2,
            said: Vec::new(),
            gantry,
            openings: vec![Opening { control_point: 0, pieces }],
            openings_in_all: 1,
            blocks: Vec::new(),
            applicator: None,
            spots: None,
        }
    }

    #[test]
    fn an_outline_goes_round_all_pieces_and_not_between_them() {
        let piece = |x_mm, y_mm| Piece { x_mm, y_mm };
        // Two leaves' openings on one another, the upper one shifted by 10 mm.
        let pieces = vec![piece([-20.0, 20.0], [-5.0, 0.0]), piece([-10.0, 30.0], [0.0, 5.0])];
        let opening = Opening { control_point: 0, pieces };
        let mut edges = edges(&opening);
        edges.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let expected = [
            [[-20.0, -5.0], [-20.0, 0.0]],
            [[-20.0, -5.0], [20.0, -5.0]],
            [[-20.0, 0.0], [-10.0, 0.0]],
            [[-10.0, 0.0], [-10.0, 5.0]],
            [[-10.0, 5.0], [30.0, 5.0]],
            [[20.0, -5.0], [20.0, 0.0]],
            [[20.0, 0.0], [30.0, 0.0]],
            [[30.0, 0.0], [30.0, 5.0]],
        ];
        assert_eq!(edges, expected);
        // X to the right, Y up: 3 cm of 4 to the right, half a centimetre up.
        let svg = beams_eye_view(&shape(7, Vec::new(), opening.pieces.clone()), 4.0);
        assert!(svg.contains("of beam 7") && svg.contains("Yb, cm"), "{svg}");
        assert!(svg.contains("M214.0 130.0L214.0 116.0"), "{svg}");
        assert!(!svg.contains("style="), "the policy forbids it");
    }

    #[test]
    fn a_gantry_turns_as_it_is_seen_from_the_foot_of_the_couch() {
        let turn = |from_deg, sweep_deg| vec![Turn { from_deg, sweep_deg }];
        assert!(gantry(&[shape(1, Vec::new(), Vec::new())]).is_none());
        // 90° is to the right, where the spoke begins.
        let spoke = gantry(&[shape(1, turn(90.0, 0.0), Vec::new())]).unwrap();
        assert!(spoke.contains("M218.0 130.0L144.0 130.0"), "{spoke}");
        // A quarter clockwise from 0° ends at the right, with SVG's sweep flag set; counter-clockwise at the left, without.
        let clockwise = gantry(&[shape(1, turn(0.0, 90.0), Vec::new())]).unwrap();
        assert!(clockwise.contains("M130.0 42.0A88.0 88.0 0 0 1 218.0 130.0"), "{clockwise}");
        let counter = gantry(&[shape(1, turn(0.0, -90.0), Vec::new())]).unwrap();
        assert!(counter.contains("M130.0 42.0A88.0 88.0 0 0 0 42.0 130.0"), "{counter}");
    }
}
