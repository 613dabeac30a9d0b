//! Draws line charts as SVG, as far as `serf simulate` needs them.

use std::fmt::Write as _;

/// A line of a chart.
pub struct Curve<'a> {
    /// Label of the line.
    pub name: &'a str,
    /// CSS colour.
    pub color: &'a str,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Seconds and shares (0 to 1).
    pub points: Vec<(f64, f64)>,
}

/// Draws shares against time.
pub fn chart(title: &str, curves: &[Curve<'_>]) -> String {
    let xs = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0);
    let x_max = xs.fold(1e-3, f64::max);
    let x = |seconds: f64| LEFT + (seconds / x_max).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
    let y = |share: f64| HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        escape(title)
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{3:.1}\" \
             text-anchor=\"end\">{4:.0} %</text>",
            y(share),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(share) + 4.0,
            share * 100.0
        );
    }
    for step in 0..=5 {
        let seconds = x_max * f64::from(step) / 5.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds:.2} s</text>",
            x(seconds),
            HEIGHT - BOTTOM + 18.0
        );
    }
    for (place, curve) in curves.iter().enumerate() {
        let mut path = String::new();
        for (seconds, share) in &curve.points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(*seconds), y(*share));
        }
        let dash = if curve.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let legend = TOP + 16.0 * (place as f64 + 1.0);
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{0}\" stroke-width=\"1.5\"{dash}/>\n\
             <text x=\"{1}\" y=\"{legend}\" fill=\"{0}\" text-anchor=\"end\">{2}</text>",
            curve.color,
            WIDTH - RIGHT - 8.0,
            escape(curve.name)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 36.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_one_svg_with_a_path_for_each_curve() {
        let curve =
            |name| Curve { name, color: "red", dashed: true, points: vec![(0.0, 0.0), (2.0, 1.0)] };
        let svg = chart("a < b", &[curve("one"), curve("two")]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("stroke-dasharray").count(), 2);
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"));
        assert!(svg.contains("M60.0 384.0L780.0 34.0"));
    }
}
