//! Percentiles over rate, as a picture: logarithmic in both directions. Pure.

use std::fmt::Write;

use crate::bench::figures::{Figures, Since};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// Told apart by those who see colours differently too (Okabe and Ito's).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// From one power of ten to another.
#[derive(Clone, Copy)]
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min).log10().floor() as i32;
        let most = values.fold(0.0, f64::max).log10().ceil() as i32;
        Self { from: least, to: most.max(least + 1) }
    }

    /// 0 to 1.
    fn place(self, value: f64) -> f64 {
        (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from)
    }
}

/// A stage at one rate.
struct Point {
    rate: f64,
    /// p50 and p99, in milliseconds.
    late: [f64; 2],
    held: bool,
}

/// A stage at each rate.
type Line = (&'static str, Vec<Point>);

/// p50 and p99 of each stage since due, over the rates. Empty where there is nothing to draw.
pub(crate) fn svg(figures: &Figures) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for step in &figures.steps {
        for row in step.rows.iter().filter(|row| row.since == Since::Due) {
            // A microsecond is the least that is measured.
            let late = [row.late.p50_ms, row.late.p99_ms].map(|late| late.max(1e-3));
            let point = Point { rate: step.rate, late, held: step.held };
            match lines.iter_mut().find(|(stage, _)| *stage == row.stage) {
                Some((_, points)) => points.push(point),
                None => lines.push((row.stage, vec![point])),
            }
        }
    }
    lines
        .iter_mut()
        .for_each(|(_, points)| points.sort_by(|one, two| one.rate.total_cmp(&two.rate)));
    let points = lines.iter().flat_map(|(_, points)| points);
    if points.clone().next().is_none() {
        return String::new();
    }
    let rates = Axis::over(points.clone().map(|point| point.rate));
    let lates = Axis::over(points.flat_map(|point| point.late));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = draw(&mut out, &lines, rates, lates);
    out
}

fn draw(out: &mut String, lines: &[Line], rates: Axis, lates: Axis) -> std::fmt::Result {
    let across = |rate: f64| LEFT + rates.place(rate) * (WIDTH - LEFT - RIGHT);
    let down = |late: f64| HEIGHT - BOTTOM - lates.place(late) * (HEIGHT - TOP - BOTTOM);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\">Milliseconds since a trade was due, over trades \
         a second (p50 solid, p99 dashed; hollow: not held)</text>"
    )?;
    for power in rates.from..=rates.to {
        let (x, label) = (across(10_f64.powi(power)), label(power));
        let bottom = HEIGHT - BOTTOM;
        writeln!(
            out,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{label}</text>",
            bottom + 20.0
        )?;
    }
    for power in lates.from..=lates.to {
        let (y, label) = (down(10_f64.powi(power)), label(power));
        writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0
        )?;
    }
    for (at, (stage, points)) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        for (dash, pick) in [("", 0), (" stroke-dasharray=\"6 4\"", 1)] {
            let mut path = String::new();
            let mut circles = String::new();
            for Point { rate, late, held } in points {
                let (x, y) = (across(*rate), down(late[pick]));
                let go = if path.is_empty() { 'M' } else { 'L' };
                write!(path, "{go}{x:.1} {y:.1}")?;
                let fill = if *held { colour } else { "white" };
                writeln!(
                    circles,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{fill}\" stroke=\"{colour}\"/>"
                )?;
            }
            writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\n{circles}"
            )?;
        }
        let (x, y) = (WIDTH - RIGHT + 20.0, TOP + 20.0 * (at + 1) as f64);
        writeln!(out, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{stage}</text>")?;
    }
    writeln!(out, "</svg>")
}

/// 10 to the power, as a person writes it.
fn label(power: i32) -> String {
    match power {
        6.. => format!("{} M", 10_u64.pow(power.unsigned_abs() - 6)),
        3..6 => format!("{} k", 10_u64.pow(power.unsigned_abs() - 3)),
        0..3 => 10_u64.pow(power.unsigned_abs()).to_string(),
        _ => format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::{figures, row};

    #[test]
    fn each_stage_has_two_lines_within_the_picture() {
        let rows = |late| vec![row("visible", late, late * 9.0), row("delivered", late, late)];
        let steps = [(100_000.0, rows(3.0)), (1_000.0, rows(0.5)), (20_000.0, rows(1.0))];
        let svg = svg(&figures(&steps));
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 4);
        assert_eq!(svg.matches("<circle").count(), 12);
        for name in ["visible", "delivered", ">1 k<", ">100 k<", ">0.1<", ">100<"] {
            assert!(svg.contains(name), "{name}: {svg}");
        }
        let across = svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let across: Vec<f64> = across.map(|x| x.parse().expect("a number")).collect();
        assert!(across.iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)), "{across:?}");
        assert!(across.windows(2).take(2).any(|pair| pair[0] < pair[1]), "in order of rate");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn powers_of_ten_are_labelled() {
        let labels = [-3, -1, 0, 2, 3, 5, 6].map(label);
        assert_eq!(labels, ["0.001", "0.1", "1", "100", "1 k", "100 k", "1 M"]);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(svg(&figures(&[])), "");
    }
}
