"""Both ends of the declared versions, tried: of each dependency the lowest and the newest, in environments apart."""
