fn main() {
    let mut o = raddle::bench::BenchOptions::default();
    o.cases = std::env::args().skip(2).collect();
    o.workers = std::env::args().nth(1).map(|w| vec![w.parse().unwrap()]).unwrap_or(vec![1,2]);
    o.windows = 3;
    if let Err(e) = raddle::bench::run(&o) { eprintln!("{e:?}"); }
}
