//! What is drawn of a beam is what its plan says: openings, spots, blocks, and how the gantry turns.

use dicom_dictionary_std::tags as t;
use treatment::{ApplicatorOpening, BeamShape, Piece, Plan, Turn};

use crate::build::{self, IMPLICIT, Item, beam_at, later_point, point_at, position};

fn shapes(item: &Item) -> Vec<BeamShape> {
    let plan = Plan::parse(&build::file(item, IMPLICIT)).unwrap();
    plan.shapes(&plan.groups[0])
}

fn piece(x_mm: [f64; 2], y_mm: [f64; 2]) -> Piece {
    Piece { x_mm, y_mm }
}

#[test]
fn jaws_and_leaves_leave_open_what_both_do() {
    let beams = shapes(&build::photons());
    let [open, wedged] = beams.as_slice() else { panic!("a setup beam is drawn: {beams:?}") };
    // Four leaf pairs of 5 mm from -10 mm, within jaws that are further out.
    let expected = [
        piece([-10.0, 10.0], [-10.0, -5.0]),
        piece([-11.7, 11.7], [-5.0, 0.0]),
        piece([-12.4, 12.4], [0.0, 5.0]),
        piece([-13.1, 13.1], [5.0, 10.0]),
    ];
    assert_eq!((open.openings[0].pieces.as_slice(), open.openings_in_all), (&expected[..], 1));
    assert_eq!(open.gantry, [Turn { from_deg: 300.5, sweep_deg: 0.0 }]);
    assert_eq!(wedged.openings[0].pieces, [piece([-50.0, 50.0], [-45.0, 45.0])]);
    assert_eq!(wedged.blocks[0].edge_mm, [[0.0, 0.0], [10.0, 0.0], [0.0, 10.5]]);
    assert!(!wedged.blocks[0].is_aperture && !wedged.is_ion);
    let said: Vec<&str> = open.said.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(said, ["Energy", "Gantry", "Collimator", "Couch"]);

    // A jaw over the leaves cuts them, and a pair that is closed leaves nothing.
    let mut cut = build::photons();
    *cut.at(&point_at(0, 0)).sequence(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE) = vec![
        position("ASYMX", "-50\\5"),
        position("ASYMY", "-7\\60"),
        position("MLCX", "-10\\-10\\0\\-10\\10\\10\\0\\10"),
    ];
    let expected = [piece([-10.0, 5.0], [-7.0, 0.0]), piece([-10.0, 5.0], [5.0, 10.0])];
    assert_eq!(shapes(&cut)[0].openings[0].pieces, expected);
}

#[test]
fn of_many_shapes_some_are_drawn_and_all_are_counted() {
    let beams = shapes(&build::arcs(90));
    assert_eq!((beams[0].openings.len(), beams[0].openings_in_all, beams[0].control_points), (16, 90, 90));
    let drawn: Vec<u32> = beams[0].openings.iter().map(|one| one.control_point).collect();
    assert!(drawn.is_sorted() && drawn.first() == Some(&0) && drawn.last() == Some(&89), "{drawn:?}");
    // 181° to 179°, both ways round.
    assert_eq!(beams[0].gantry, [Turn { from_deg: 181.0, sweep_deg: 358.0 }]);
    assert_eq!(beams[1].gantry, [Turn { from_deg: 179.0, sweep_deg: -358.0 }]);
    // There and back again.
    let mut swing = build::arcs(5);
    let path = [("182", "CW"), ("200", "CW"), ("220", "CC"), ("200", "CC"), ("182", "NONE")];
    for (index, (angle, way)) in path.into_iter().enumerate() {
        let point = swing.at(&point_at(0, index));
        point.set(t::GANTRY_ANGLE, angle);
        point.set(t::GANTRY_ROTATION_DIRECTION, way);
    }
    let turns = [Turn { from_deg: 182.0, sweep_deg: 38.0 }, Turn { from_deg: 220.0, sweep_deg: -38.0 }];
    assert_eq!(shapes(&swing)[0].gantry, turns);
    // Shapes that stay are one.
    let mut still = build::photons();
    let beam = still.at(&beam_at(0));
    beam.set(t::NUMBER_OF_CONTROL_POINTS, "3");
    let points = beam.sequence(t::CONTROL_POINT_SEQUENCE);
    points[1] = later_point(1, "0.5").items(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, [position("ASYMX", "-4\\4")]);
    points.push(later_point(2, "1"));
    let still = &shapes(&still)[0];
    assert_eq!((still.openings_in_all, still.openings[1].control_point), (2, 1));
    assert!(still.openings[1].pieces.iter().all(|one| one.x_mm == [-4.0, 4.0]), "{still:?}");
}

#[test]
fn spots_are_drawn_where_they_are_by_what_they_give() {
    let beam = &shapes(&build::ions(3, 4))[0];
    let spots = beam.spots.as_ref().unwrap();
    assert!(beam.is_ion && beam.openings.is_empty());
    assert_eq!((spots.in_all, spots.layers, spots.square_mm), (12, 3, None));
    let whole: f64 = spots.dots.iter().map(|dot| dot.share).sum();
    assert!((whole - 1.0).abs() < 1e-5, "{whole}");
    // The first layer's first one: map value 0 and 37 quarters, from -50 mm.
    let first = spots.dots.iter().find(|dot| (dot.x_mm, dot.y_mm) == (-50.0, -40.75));
    assert!((first.unwrap().share - 1.0 / 12.0).abs() < 1e-5, "{spots:?}");
    // A grid of half a millimetre, 25 mm to a side, in squares of two: of one, they are 676.
    let mut grid = build::ions(1, 2_500);
    let map: Vec<f32> = (0..2_500_u16).flat_map(|at| [at % 50, at / 50]).map(|at| f32::from(at) / 2.0).collect();
    let beam = grid.at(&[(t::ION_BEAM_SEQUENCE, 0)]);
    for point in beam.sequence(t::ION_CONTROL_POINT_SEQUENCE) {
        *point = point.clone().floats(t::SCAN_SPOT_POSITION_MAP, &map);
    }
    let many = shapes(&grid).remove(0).spots.unwrap();
    assert_eq!((many.in_all, many.square_mm, many.dots.len()), (2_500, Some(2.0), 13 * 13));
    assert!((many.dots.iter().map(|dot| dot.share).sum::<f64>() - 1.0).abs() < 1e-3);
}

#[test]
fn an_electron_beam_has_its_cut_out_and_its_applicator() {
    let beam = &shapes(&build::electrons())[0];
    let applicator = beam.applicator.as_ref().unwrap();
    assert_eq!((applicator.id.as_str(), applicator.opening), ("10x10", None));
    assert!(beam.blocks[0].is_aperture);
    assert_eq!(beam.blocks[0].edge_mm.len(), 4);
    let mut sized = build::electrons();
    let opening = |item: &mut Item, shape: &str, sizes: &[(dicom_core::Tag, f32)]| {
        let mut geometry = Item::new().with(t::APPLICATOR_APERTURE_SHAPE, shape);
        for (tag, size) in sizes {
            geometry = geometry.floats(*tag, &[*size]);
        }
        let applicator = item.at(&[beam_at(0), vec![(t::APPLICATOR_SEQUENCE, 0)]].concat());
        *applicator = applicator.clone().items(t::APPLICATOR_GEOMETRY_SEQUENCE, [geometry]);
        shapes(item)[0].applicator.clone().unwrap().opening
    };
    let square = opening(&mut sized, "SYM_SQUARE", &[(t::APPLICATOR_OPENING, 100.0)]);
    assert_eq!(square, Some(ApplicatorOpening::Rectangle { x_mm: 100.0, y_mm: 100.0 }));
    let sides = [(t::APPLICATOR_OPENING_X, 60.0), (t::APPLICATOR_OPENING_Y, 100.0)];
    let rectangle = opening(&mut sized, "SYM_RECTANGLE", &sides);
    assert_eq!(rectangle, Some(ApplicatorOpening::Rectangle { x_mm: 60.0, y_mm: 100.0 }));
    let circle = opening(&mut sized, "SYM_CIRCULAR", &[(t::APPLICATOR_OPENING, 50.0)]);
    assert_eq!(circle, Some(ApplicatorOpening::Circle { diameter_mm: 50.0 }));
}
