"""Score the predictions of all runs, and write tables, cards and pictures of the results."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.evaluation.inputs import read_heart_cycles, read_inputs
from murmur.evaluation.output import write_results
from murmur.evaluation.protocol import describe_protocol, describe_selection, have_validation
from murmur.evaluation.results import evaluate_predictions
from murmur.evaluation.segmentation_score import add_segmentation
from murmur.evaluation.summary import format_summary
from murmur.files import write_text
from murmur.reporting import cards, guidelines
from murmur.reporting.cycle_drawing import draw_heart_cycles
from murmur.reporting.illustrations import draw_illustrations
from murmur.tables.annotations import describe_annotations
from murmur.tables.csv_writer import write_csv
from murmur.tables.left_out import count_by_reason


def main() -> None:
    p = sections.load("evaluate", "clean", "segment", "mel", "split", "train", "seed")
    tables = read_inputs(Path("data"), Path("metrics"), p.split.runs)
    card, audit, n_folds = tables.card, tables.audit, tables.audit["fold"].nunique()
    protocol = describe_protocol(p.split, p.segment, card, n_folds, have_validation(tables.folds))
    results = evaluate_predictions(
        **vars(tables) | {"left_out": len(tables.left_out)},
        options=p.evaluate,
        seed=p.seed,
        protocol=protocol | describe_selection(p.train),
    )
    cycles, annotations = read_heart_cycles(Path("data"), p.split.runs)
    scored = add_segmentation(results, cycles, annotations, tables.folds, tables.recordings)
    draw_illustrations(tables, results.examples, p.mel, p.segment, Path("data/mel"), Path("plots"))
    inputs = (cycles, annotations, scored, p.mel, p.segment, p.clean.sample_rate)
    draw_heart_cycles(tables, *inputs, Path("data/mel"), Path("plots/cycles.png"))
    if not card.shareable:  # the table is committed to git; metrics/details.json has the number of patients
        results.tables["missed"] = results.tables["missed"][:0]
    write_results(results, "metrics", "plots")
    left_out = tables.left_out if card.shareable else count_by_reason(tables.left_out)
    write_csv(left_out, "metrics/left_out.csv")
    scores = (results.tables[name] for name in ("errors", "subgroups", "operating_points", "runs"))
    write_text("metrics/model_card.md", cards.format_model_card(results.details, p, *scores))
    annotated = describe_annotations(annotations, tables.recordings)
    data_card = cards.format_data_card(results.details, audit, left_out, annotated)
    write_text("metrics/data_card.md", data_card)
    tables_of_items = {**results.tables, **results.plots, "audit": audit, "left_out": left_out}
    items = guidelines.format_reporting_items(results.details, p, tables_of_items)
    write_text("metrics/reporting.md", items)
    print(format_summary(results.details))


if __name__ == "__main__":
    run_stage(main)
