"""The terms of the page, each explained in a sentence or two: one table, read by the page and by its test."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A term of the field, and what it means."""

    name: str
    meaning: str


GLOSSARY: dict[str, Term] = {
    "value": Term(
        "value",
        "The average outcome if everybody read texts from one model, each reader in answer to their own prompt. It is "
        "estimated: in the logged data most readers read other texts.",
    ),
    "reference": Term(
        "reference model",
        "The model that optimisation starts from (reference policy): usually the base model, tuned to write like the "
        "logged texts.",
    ),
    "policy": Term(
        "policy",
        "A model seen as a rule for which text to show: a probability for every text, given the prompt.",
    ),
    "ci": Term(
        "confidence interval",
        "A range computed from the data so that, over many repetitions, a 95% interval contains the true value in 95% "
        "of them. It covers sampling error, not wrong assumptions.",
    ),
    "band": Term(
        "simultaneous interval",
        "Intervals made wide enough that all of them contain their true values at once with the stated probability, "
        "so that looking at the best one is allowed.",
    ),
    "se": Term("standard error", "The typical size of an estimate's sampling error."),
    "p-value": Term(
        "p-value",
        "How often chance alone would give a result at least as extreme. Small values speak against chance.",
    ),
    "estimator": Term(
        "estimator",
        "A formula that turns the logged data into an estimate of the value. Different estimators rely on different "
        "models; if they disagree, one of these models is wrong.",
    ),
    "doubly-robust": Term(
        "doubly robust",
        "Correct if either the model of the outcome or the model of which text was shown is correct; only one of the "
        "two needs to be.",
    ),
    "held-out": Term(
        "held-out rows",
        "Rows that took no part in training the model, set aside to evaluate it without flattery.",
    ),
    "overlap": Term(
        "overlap",
        "Whether texts like the model's were shown, to all kinds of readers. Without overlap the data cannot say how "
        "readers would respond.",
    ),
    "ess": Term(
        "effective sample size",
        "The logged texts count unequally for a model that writes some of them more often than others. This is the "
        "number of equally weighted texts (or readers, or prompts) that would be as informative.",
    ),
    "ratio": Term(
        "importance weight",
        "How much more likely the model is to write a logged text than the system that wrote it. Weighting by it makes "
        "the logged texts stand for the model's.",
    ),
    "pareto": Term(
        "Pareto k",
        "How heavy the tail of the importance weights is. Above 0.7 a few rows decide the result, and it cannot be "
        "trusted.",
    ),
    "behavior": Term(
        "behavior policy",
        "Whatever wrote the logged texts, as a probability of every text (written q). It is known if the logging "
        "system recorded it; otherwise it is estimated.",
    ),
    "support": Term(
        "support",
        "The region in which logged texts lie. About texts outside it the data are silent.",
    ),
    "kl": Term(
        "KL divergence, in nats",
        "How far a model's texts are from the reference model's: the average log-ratio of the two probabilities. At 0 "
        "they are the same; at 1 nat a typical text of the model is 2.7 times as likely as under the reference model.",
    ),
    "frontier": Term(
        "frontier",
        "Models between the reference and the end of training, with the gain of each: how much is gained by going "
        "further, and how far the data can follow.",
    ),
    "nuisance": Term(
        "nuisance models",
        "Models that are not of interest themselves but are needed to adjust for confounding: of the outcome, of which "
        "text was shown to whom, and of who responds.",
    ),
    "outcome-model": Term("outcome model", "Predicts the response of a reader from the text and the covariates (m)."),
    "score": Term(
        "score",
        "The average response to a text over all readers, as the outcome model predicts it (dose response, written "
        "g). It is a prediction, not an observed response.",
    ),
    "pseudo-outcome": Term(
        "pseudo-outcome",
        "The response of a row, corrected for which readers were shown which texts. Its average for a text is the "
        "average response over all readers.",
    ),
    "cross-fitting": Term(
        "cross-fitting",
        "Every row is predicted by models fitted on other rows, so that no model is judged on what it has memorised.",
    ),
    "stabilized": Term(
        "stabilized weight",
        "How much less likely this text was for this reader than for readers in general, p(x) / p(x | w). It is 1 in a "
        "randomised experiment.",
    ),
    "confounder": Term(
        "confounder",
        "Anything that affects both which text a reader was shown and how the reader responds.",
    ),
    "adjusted": Term(
        "adjusted, naive",
        "A naive comparison takes the averages as they were logged; an adjusted one removes what is due to different "
        "readers having been shown different texts.",
    ),
    "robustness": Term(
        "robustness value",
        "The strength a confounder that was not recorded would need, as a share of what is left unexplained, to "
        "overturn the result.",
    ),
    "placebo": Term(
        "placebo test",
        "The same analysis where the true answer is known to be zero. A result far from zero reveals a fault.",
    ),
    "balance": Term(
        "balance",
        "Whether, after weighting, readers with different covariates were shown similar texts, as they would be in an "
        "experiment.",
    ),
    "cluster": Term(
        "cluster",
        "Rows that belong together, such as all readings of one text. They are counted as one unit.",
    ),
}
