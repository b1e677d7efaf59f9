"""The words of a result, explained once: for reports, the demo, and the page docs/glossary.md."""

GLOSSARY = {
    "score": "How much one more label would help: the lower, the sooner an example should be "
    "labeled. Labeled examples and the pool are on one scale. A score is for ranking; it is not a "
    "probability.",
    "consensus": "The one label of an example that model and annotators together support most, "
    "each weighted by how good it is.",
    "quality": "How strongly model and annotators support a consensus label, or how well an "
    "annotator's labels fit theirs, from 0 to 1. It is for ranking: wrong labels gather where "
    "quality is low. It is not the chance that a label is right: where classes are many, most "
    "labels of a quality below one half may still be right.",
    "agreement": "The share of an example's votes that equal its consensus label; of an annotator, "
    "the share of its labels that equal the consensus, or that others agree with.",
    "weights": "How much a label of an annotator, and the prediction of the model, count in the "
    "consensus. They follow from how often each agrees with the others, compared with always "
    "choosing the most common class.",
    "temperature": "What the model's probabilities are divided by, on the scale of their "
    "logarithms, so that they fit the annotators' labels best: above 1 for a model too sure of "
    "itself, below 1 for one too cautious.",
}
