"""Plugin of Hydra: the sweeper behind `search=`."""
