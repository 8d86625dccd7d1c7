"""Prompts of ordinary short tasks, and the sentences between which warm and cold answers are told apart."""

from __future__ import annotations

PROMPTS: dict[str, float] = {
    "Ask a colleague for help in one sentence.": 0.048,
    "Ask a librarian for a book in one sentence.": 0.085,
    "Ask a stranger for the way in one sentence.": 0.069,
    "Congratulate a couple on their wedding in one sentence.": 0.175,
    "Congratulate a friend on a new job in one sentence.": 0.16,
    "Congratulate a team on a win in one sentence.": 0.081,
    "Decline an invitation in one sentence.": 0.034,
    "Describe a busy market in one sentence.": 0.043,
    "Describe a good friend in one sentence.": 0.076,
    "Describe a winter morning in one sentence.": 0.117,
    "Describe fresh bread in one sentence.": 0.084,
    "Describe the moon in one sentence.": 0.056,
    "Describe the sea in one sentence.": 0.097,
    "Explain rain to a child in one sentence.": 0.091,
    "Greet a class of pupils in one sentence.": 0.062,
    "Greet a guest at a hotel in one sentence.": 0.1,
    "Greet a neighbour in one sentence.": 0.114,
    "Greet a new colleague in one sentence.": 0.173,
    "Invite a colleague to lunch in one sentence.": 0.109,
    "Invite a friend to dinner in one sentence.": 0.111,
    "Invite a neighbour to a concert in one sentence.": 0.068,
    "Invite the street to a summer party in one sentence.": 0.074,
    "Remind a child to brush its teeth in one sentence.": 0.011,
    "Remind a friend to bring a coat in one sentence.": 0.097,
    "Remind a guest of the open window in one sentence.": 0.108,
    "Remind a team of the meeting on Monday in one sentence.": 0.03,
    "Suggest a name for a sailing boat.": 0.08,
    "Suggest a name for a small bakery.": 0.078,
    "Suggest a slogan for a bicycle shop.": 0.093,
    "Suggest a slogan for a public library.": 0.061,
    "Suggest a title for a story about a lost key.": 0.06,
    "Suggest a title for a talk about bees.": 0.065,
    "Suggest a title for a talk about trees.": 0.086,
    "Thank a nurse in one sentence.": 0.125,
    "Wish a colleague a good holiday in one sentence.": 0.166,
    "Wish a cyclist a safe journey in one sentence.": 0.018,
    "Wish a friend luck before an exam in one sentence.": 0.158,
    "Wish a patient a quick recovery in one sentence.": 0.039,
    "Wish a sister a happy birthday in one sentence.": 0.124,
}
"""Each prompt with its centre: the cosine difference (see `causalopt.simulation.LanguageModelWorld`) about which the
willingness to rate balances, by `balanced_centre`, over 8 to 16 answers of SmolLM2 at temperature 1. The prompts are
those of 60 to which it mostly ends its answer within 32 tokens."""

SPREAD = 0.08
"""Standard deviation of the cosine difference over these answers, within prompts."""

WARM = (
    "Thank you so much, my dear friend.",
    "I wish you all the best with love.",
    "We are happy and grateful to have you here.",
)
COLD = (
    "This is a technical rule and a warning.",
    "The data must be processed by the system.",
    "You are wrong and it is your problem.",
)
