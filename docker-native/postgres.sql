-- What the source holds when its volume is new.
CREATE TABLE scores (name text PRIMARY KEY, score text NOT NULL);
INSERT INTO scores VALUES ('Tom', '630'), ('Jack', '589'), ('Sam', '567'), ('Ann', '701');
