use std::error::Error;
use std::path::Path;

use bartizan_benches::overload::{Cell, Discipline, LOADS, Spread, Variant};
use plotters::prelude::*;

const SIZE: (u32, u32) = (720, 360);

/// Draws the tables into `docs/shed/`.
pub(crate) fn all(rows: &[(Variant, Vec<Cell>)], tower: &[Cell], none: &[Cell]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shed");
    let drawn = std::fs::create_dir_all(&folder)
        .map_err(Into::into)
        .and_then(|()| goodput(&folder.join("goodput.svg"), rows, tower, none))
        .and_then(|()| latency(&folder.join("latency.svg"), rows));
    if let Err(error) = drawn {
        eprintln!("nothing is drawn: {error}");
    }
}

type Line<'a> = (String, Vec<(f64, f64)>);

fn goodput(
    path: &Path,
    rows: &[(Variant, Vec<Cell>)],
    tower: &[Cell],
    none: &[Cell],
) -> Result<(), Box<dyn Error>> {
    let points = |cells: &[Cell]| -> Vec<(f64, f64)> {
        cells.iter().map(|cell| (cell.load, cell.goodput)).collect()
    };
    let mut lines: Vec<Line<'_>> = rows
        .iter()
        .filter(|(variant, _)| {
            variant.spread == Spread::Exponential && variant.discipline == Discipline::Queue
        })
        .map(|(variant, cells)| (format!("bartizan, {} workers", variant.workers), points(cells)))
        .collect();
    lines.push(("tower, limit of 64N, 16 workers".to_owned(), points(tower)));
    lines.push(("nothing, 16 workers".to_owned(), points(none)));
    draw(path, "goodput in % of what is possible, by load", 105.0, &lines)
}

fn latency(path: &Path, rows: &[(Variant, Vec<Cell>)]) -> Result<(), Box<dyn Error>> {
    let lines: Vec<Line<'_>> = rows
        .iter()
        .filter(|(variant, _)| variant.discipline == Discipline::Queue && variant.workers == 16)
        .map(|(variant, cells)| {
            let points = cells.iter().map(|cell| (cell.load, cell.p99 / variant.spread.p99()));
            (variant.to_string(), points.collect())
        })
        .collect();
    draw(path, "p99 of served requests over that of an idle service, by load", 3.0, &lines)
}

fn draw(path: &Path, title: &str, top: f64, lines: &[Line<'_>]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (first, last) = (LOADS[0], LOADS[LOADS.len() - 1]);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(44)
        .build_cartesian_2d((first..last).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("offered, in times the capacity")
        .x_label_formatter(&|load| format!("{load:.1}"))
        .draw()?;
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    area.present()?;
    Ok(())
}
