"""The exercises of chapter 08, the tokenizer and the text encoder."""

from sdlearn.exercises.ch08.at_end import AT_END
from sdlearn.exercises.ch08.contrastive_loss import CONTRASTIVE
from sdlearn.exercises.ch08.merge import MERGE
from sdlearn.exercises.ch08.merge_all import MERGE_ALL

EXERCISES = [MERGE, MERGE_ALL, AT_END, CONTRASTIVE]
