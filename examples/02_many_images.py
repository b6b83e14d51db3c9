"""Name many pictures, preparing the next while one is answered: `02_many_pictures.py [PICTURE...]`.

A file that cannot be read is reported and the others are answered all the same.
"""

import sys
from pathlib import Path

import edgevit
from edgevit.errors import InputError

pictures = sys.argv[1:] or sorted((Path(__file__).parent / "pictures").glob("*.jpg"))

with edgevit.Predictor() as predictor:
    answers = predictor.map(pictures)
    for picture in pictures:
        try:
            print(f"{picture}: {next(answers)}")
        except InputError as exc:
            print(f"{picture}: {exc}", file=sys.stderr)
